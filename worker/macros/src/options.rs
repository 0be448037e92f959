//! What stands in the parentheses of the attributes, and the code that says the same.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Lit, LitStr, Result, Token, bracketed};

use crate::duration;

/// Longest name, as `stepwell_shared::limits::MAX_NAME_BYTES`.
const MAX_NAME_BYTES: usize = 128;

/// Options of `#[workflow]`.
#[derive(Default)]
pub(crate) struct WorkflowOptions {
    pub(crate) name: Option<String>,
    pub(crate) queue: Option<String>,
}

/// Options of `#[activity]`.
#[derive(Default)]
pub(crate) struct ActivityOptions {
    pub(crate) name: Option<String>,
    queue: Option<String>,
    start_to_close: Option<u64>,
    schedule_to_start: Option<u64>,
    schedule_to_close: Option<u64>,
    heartbeat: Option<u64>,
    retry: Option<Retry>,
}

#[derive(Default)]
struct Retry {
    max_attempts: Option<u32>,
    initial: Option<u64>,
    coefficient: Option<f64>,
    max_interval: Option<u64>,
    jitter: Option<f64>,
    non_retryable: Option<Vec<String>>,
}

impl WorkflowOptions {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| match key(&meta).as_str() {
            "name" => set(&meta, &mut options.name, name),
            "queue" => set(&meta, &mut options.queue, name),
            _ => Err(unknown(&meta, "name, queue")),
        });
        parser.parse2(tokens)?;
        Ok(options)
    }
}

impl ActivityOptions {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        syn::meta::parser(|meta| options.take(&meta)).parse2(tokens)?;
        Ok(options)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        match key(meta).as_str() {
            "name" => set(meta, &mut self.name, name),
            "queue" => set(meta, &mut self.queue, name),
            "start_to_close" => set(meta, &mut self.start_to_close, duration),
            "schedule_to_start" => set(meta, &mut self.schedule_to_start, duration),
            "schedule_to_close" => set(meta, &mut self.schedule_to_close, duration),
            "heartbeat" => set(meta, &mut self.heartbeat, duration),
            "retry" if self.retry.is_some() => Err(meta.error("`retry` is given twice")),
            "retry" => {
                let mut retry = Retry::default();
                meta.parse_nested_meta(|meta| retry.take(&meta))?;
                self.retry = Some(retry);
                Ok(())
            }
            _ => Err(unknown(
                meta,
                "start_to_close, schedule_to_start, schedule_to_close, heartbeat, retry(…), queue, name",
            )),
        }
    }
}

impl Retry {
    fn complete(&self) -> bool {
        self.max_attempts.is_some()
            && self.initial.is_some()
            && self.coefficient.is_some()
            && self.max_interval.is_some()
            && self.jitter.is_some()
            && self.non_retryable.is_some()
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        match key(meta).as_str() {
            "max_attempts" => set(meta, &mut self.max_attempts, attempts),
            "initial" => set(meta, &mut self.initial, duration),
            "coefficient" => set(meta, &mut self.coefficient, |value| {
                number(value, "a coefficient of 1 or more, such as 2.0", |number| number >= 1.0)
            }),
            "max_interval" => set(meta, &mut self.max_interval, duration),
            "jitter" => set(meta, &mut self.jitter, |value| {
                number(value, "a share between 0 and 1, such as 0.2", |number| (0.0..=1.0).contains(&number))
            }),
            "non_retryable" => {
                if self.non_retryable.is_some() {
                    return Err(meta.error("`non_retryable` is given twice"));
                }
                let value = meta.value()?;
                let list;
                bracketed!(list in value);
                let types = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
                self.non_retryable = Some(types.iter().map(LitStr::value).collect());
                Ok(())
            }
            _ => {
                Err(unknown(meta, "max_attempts, initial, coefficient, max_interval, jitter, non_retryable"))
            }
        }
    }
}

/// The expression of type `ActivityDefaults`.
impl ToTokens for ActivityOptions {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let start_to_close = option(self.start_to_close.as_ref());
        let schedule_to_start = option(self.schedule_to_start.as_ref());
        let schedule_to_close = option(self.schedule_to_close.as_ref());
        let heartbeat = option(self.heartbeat.as_ref());
        let queue = option(self.queue.as_ref());
        let retry = match &self.retry {
            Some(retry) => retry.to_token_stream(),
            None => quote!(::core::default::Default::default()),
        };
        tokens.extend(quote! {
            ::stepwell::ActivityDefaults {
                options: ::stepwell::ActivityOptions {
                    start_to_close_ms: #start_to_close,
                    schedule_to_start_ms: #schedule_to_start,
                    schedule_to_close_ms: #schedule_to_close,
                    heartbeat_timeout_ms: #heartbeat,
                    retry: #retry,
                },
                queue: #queue,
            }
        });
    }
}

/// The expression of type `RetryPolicy`.
impl ToTokens for Retry {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let mut fields = TokenStream::new();
        if let Some(ms) = self.initial {
            fields.extend(quote!(initial_interval_ms: #ms,));
        }
        if let Some(coefficient) = self.coefficient {
            fields.extend(quote!(backoff_coefficient: #coefficient,));
        }
        if let Some(ms) = self.max_interval {
            fields.extend(quote!(maximum_interval_ms: ::core::option::Option::Some(#ms),));
        }
        if let Some(attempts) = self.max_attempts {
            fields.extend(quote!(maximum_attempts: ::core::option::Option::Some(#attempts),));
        }
        if let Some(types) = &self.non_retryable {
            fields.extend(quote! {
                non_retryable: ::std::vec::Vec::from([#(::std::string::String::from(#types)),*]),
            });
        }
        if let Some(jitter) = self.jitter {
            fields.extend(quote!(jitter: #jitter,));
        }
        // Given in vain, the rest would be complained of by lints in the user's crate.
        let rest = (!self.complete()).then(|| quote!(..::core::default::Default::default()));
        tokens.extend(quote! {
            ::stepwell::RetryPolicy { #fields #rest }
        });
    }
}

fn option<T: ToTokens>(value: Option<&T>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn key(meta: &ParseNestedMeta<'_>) -> String {
    meta.path.get_ident().map(ToString::to_string).unwrap_or_default()
}

fn unknown(meta: &ParseNestedMeta<'_>, known: &str) -> Error {
    let found = meta.path.to_token_stream().to_string().replace(' ', "");
    meta.error(format!("there is no option `{found}`; there are: {known}"))
}

/// Reads `= value` into an option that must not have been given before.
fn set<T>(
    meta: &ParseNestedMeta<'_>,
    slot: &mut Option<T>,
    read: impl FnOnce(&Expr) -> Result<T>,
) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error(format!("`{}` is given twice", key(meta))));
    }
    let value: Expr = meta.value()?.parse()?;
    *slot = Some(read(&value)?);
    Ok(())
}

fn literal(value: &Expr) -> Option<&Lit> {
    if let Expr::Group(group) = value {
        return literal(&group.expr);
    }
    if let Expr::Lit(literal) = value { Some(&literal.lit) } else { None }
}

fn text(value: &Expr, expected: &str) -> Result<String> {
    match literal(value) {
        Some(Lit::Str(text)) => Ok(text.value()),
        _ => Err(Error::new_spanned(value, expected)),
    }
}

fn name(value: &Expr) -> Result<String> {
    let name = text(value, "expected a name as a text literal")?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
        let message =
            format!("{name:?} is no name: use 1 to {MAX_NAME_BYTES} ASCII letters, digits, '_' and '-'");
        return Err(Error::new_spanned(value, message));
    }
    Ok(name)
}

fn duration(value: &Expr) -> Result<u64> {
    let text = text(value, duration::EXPECTED)?;
    duration::parse_ms(&text).map_err(|message| Error::new_spanned(value, message))
}

fn attempts(value: &Expr) -> Result<u32> {
    let wrong =
        || Error::new_spanned(value, "expected a number of attempts, 1 or more; leave it out for no limit");
    match literal(value) {
        Some(Lit::Int(number)) => number.base10_parse().ok().filter(|number| *number > 0).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

fn number(value: &Expr, expected: &str, allowed: impl Fn(f64) -> bool) -> Result<f64> {
    let wrong = || Error::new_spanned(value, format!("expected {expected}"));
    let number: f64 = match literal(value) {
        Some(Lit::Float(number)) => number.base10_parse()?,
        Some(Lit::Int(number)) => number.base10_parse()?,
        _ => return Err(wrong()),
    };
    if number.is_finite() && allowed(number) { Ok(number) } else { Err(wrong()) }
}
