//! The activities of the saga and their compensations: each moves something in the books, under the
//! step's idempotency key, so that an attempt that is repeated after a crash changes nothing more.

use std::time::Duration;

use example_ledger::Ledger;
use stepwell::prelude::*;

use crate::books::{Books, BooksError, Entry, Kind};
use crate::order::{Confirmation, Order, Receipt};

/// An address that no carrier knows.
pub const NOWHERE: &str = "Nowhere";

/// Addresses that begin with this are served by a carrier that is out on the first call.
pub const ISLAND: &str = "Island";

/// What the activities share.
#[derive(Debug, Clone)]
pub struct Shop {
    /// Money, goods and parcels.
    pub books: Books,
    /// How long each call takes, as calls to a bank or a carrier would.
    pub latency: Duration,
    /// Where every attempt is noted.
    pub ledger: Ledger,
}

#[activities]
impl Shop {
    /// Puts the goods aside.
    #[activity(start_to_close = "30s", retry(initial = "200ms", non_retryable = ["OutOfStock"]))]
    pub async fn reserve_inventory(
        &self,
        ctx: ActivityContext,
        order: Order,
    ) -> Result<Receipt, ActivityError> {
        let (from, to) = (format!("stock:{}", order.article), format!("reserved:{}", order.id));
        self.enter(&ctx, Kind::Reserve, &order, (from, to), order.quantity, "OutOfStock").await
    }

    /// Puts them back.
    #[activity(start_to_close = "30s", retry(initial = "200ms"))]
    pub async fn release_inventory(
        &self,
        ctx: ActivityContext,
        undo: Undo<Order, Receipt>,
    ) -> Result<(), ActivityError> {
        self.reverse(&ctx, Kind::Release, &undo).await
    }

    /// Takes the money.
    #[activity(start_to_close = "30s", retry(initial = "200ms", non_retryable = ["CardDeclined"]))]
    pub async fn charge_payment(&self, ctx: ActivityContext, order: Order) -> Result<Receipt, ActivityError> {
        let (from, to) = (format!("customer:{}", order.customer), "shop".to_owned());
        self.enter(&ctx, Kind::Charge, &order, (from, to), order.cents, "CardDeclined").await
    }

    /// Gives it back.
    #[activity(start_to_close = "30s", retry(initial = "200ms"))]
    pub async fn refund_payment(
        &self,
        ctx: ActivityContext,
        undo: Undo<Order, Receipt>,
    ) -> Result<(), ActivityError> {
        self.reverse(&ctx, Kind::Refund, &undo).await
    }

    /// Books a parcel with the carrier.
    #[activity(start_to_close = "30s", retry(initial = "200ms", non_retryable = ["AddressUnknown", "NoParcels"]))]
    pub async fn book_parcel(&self, ctx: ActivityContext, order: Order) -> Result<Receipt, ActivityError> {
        if order.address == NOWHERE {
            let unknown =
                ActivityError::new("AddressUnknown", format!("no carrier knows {:?}", order.address));
            return self.ledger.around(&ctx, async { Err(unknown) }).await;
        }
        if order.address.starts_with(ISLAND) && ctx.info().attempt == 1 {
            let out = ActivityError::new("CarrierUnavailable", "the ferry is out; try again soon");
            return self.ledger.around(&ctx, async { Err(out) }).await;
        }
        let (from, to) = ("parcels".to_owned(), format!("booked:{}", order.id));
        self.enter(&ctx, Kind::Book, &order, (from, to), 1, "NoParcels").await
    }

    /// Gives the booking up.
    #[activity(start_to_close = "30s", retry(initial = "200ms"))]
    pub async fn cancel_parcel(
        &self,
        ctx: ActivityContext,
        undo: Undo<Order, Receipt>,
    ) -> Result<(), ActivityError> {
        self.reverse(&ctx, Kind::Unbook, &undo).await
    }

    /// Hands the goods over to the carrier.
    #[activity(start_to_close = "30s", retry(initial = "200ms"))]
    pub async fn ship_order(&self, ctx: ActivityContext, order: Order) -> Result<Receipt, ActivityError> {
        let (from, to) = (format!("reserved:{}", order.id), format!("shipped:{}", order.id));
        self.enter(&ctx, Kind::Ship, &order, (from, to), order.quantity, "NotReserved").await
    }

    /// Tells the customer.
    #[activity(start_to_close = "30s", retry(initial = "200ms"))]
    pub async fn send_confirmation(
        &self,
        ctx: ActivityContext,
        order: Order,
    ) -> Result<Confirmation, ActivityError> {
        let (from, to) = (format!("booked:{}", order.id), format!("confirmed:{}", order.id));
        let receipt = self.enter(&ctx, Kind::Confirm, &order, (from, to), 1, "NotBooked").await?;
        Ok(Confirmation { order: order.id, parcel: receipt.key })
    }
}

impl Shop {
    /// Moves `amount` between two accounts; `refusal` is the failure's type when there is not enough.
    async fn enter(
        &self,
        ctx: &ActivityContext,
        kind: Kind,
        order: &Order,
        (from, to): (String, String),
        amount: u64,
        refusal: &'static str,
    ) -> Result<Receipt, ActivityError> {
        let key = ctx.idempotency_key().to_owned();
        let entry = Entry { key: key.clone(), kind, order: order.id.clone(), from, to, amount };
        self.at_the_books(ctx, refusal, move |books| books.enter(entry)).await?;
        Ok(Receipt { key })
    }

    async fn reverse(
        &self,
        ctx: &ActivityContext,
        kind: Kind,
        undo: &Undo<Order, Receipt>,
    ) -> Result<(), ActivityError> {
        let (undone, key) = (undo.idempotency_key.clone(), ctx.idempotency_key().to_owned());
        let order = undo.input.id.clone();
        self.at_the_books(ctx, "AlreadyGone", move |books| books.reverse(&undone, &key, kind, &order)).await
    }

    async fn at_the_books(
        &self,
        ctx: &ActivityContext,
        refusal: &'static str,
        work: impl FnOnce(Books) -> Result<(), BooksError> + Send + 'static,
    ) -> Result<(), ActivityError> {
        let books = self.books.clone();
        let work = async {
            tokio::time::sleep(self.latency).await;
            let done = tokio::task::spawn_blocking(move || work(books)).await?;
            done.map_err(|error| match error {
                BooksError::Insufficient { .. } => ActivityError::new(refusal, error.to_string()),
                BooksError::Voided { .. } => ActivityError::new("Voided", error.to_string()).non_retryable(),
                BooksError::Io { .. } | BooksError::Line { .. } => error.into(),
            })
        };
        self.ledger.around(ctx, work).await
    }
}
