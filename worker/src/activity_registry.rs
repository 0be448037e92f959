//! The activities that a worker has code for, by name.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::FutureExt as _;
use stepwell_shared::failure::{Failure, FailureKind};
use stepwell_shared::ids::Name;
use stepwell_shared::limits::MAX_PAYLOAD_BYTES;
use stepwell_shared::payload::Payload;
use stepwell_worker_replay::Activity;

use crate::{ActivityContext, ActivityError};

/// An activity with its code. The macro `#[activity]` writes the implementation.
pub trait ActivityFunction: Activity {
    /// Does the work.
    fn run(
        context: ActivityContext,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, ActivityError>> + Send;
}

/// A value whose methods are activities. The macro `#[activities]` writes the implementation.
pub trait ActivityGroup: Send + Sync + 'static {
    /// Puts every activity into the registry.
    fn register(self: Arc<Self>, registry: &mut ActivityRegistry);
}

/// The activities that a worker has code for.
#[derive(Default, Clone)]
pub struct ActivityRegistry {
    activities: BTreeMap<Name, ActivityCode>,
    faults: Vec<String>,
}

/// Code from payload to payload.
pub(crate) type ActivityCode =
    Arc<dyn Fn(ActivityContext, Payload) -> BoxFuture<'static, Result<Payload, Failure>> + Send + Sync>;

impl ActivityRegistry {
    /// Adds an activity with its code.
    pub fn add<A, F, R>(&mut self, code: F)
    where
        A: Activity,
        F: Fn(ActivityContext, A::Input) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A::Output, ActivityError>> + Send + 'static,
    {
        let erased: ActivityCode = Arc::new(move |context, payload: Payload| {
            let input = match payload.decode::<A::Input>() {
                Ok(input) => input,
                Err(error) => return std::future::ready(Err(unreadable::<A>(&error))).boxed(),
            };
            let work = code(context, input);
            async move {
                let output = work.await.map_err(ActivityError::into_failure)?;
                encoded(A::NAME, &output)
            }
            .boxed()
        });
        self.add_code(A::NAME, erased);
    }

    /// Adds code from payload to payload under a name.
    pub fn add_untyped<F, R>(&mut self, name: &str, code: F)
    where
        F: Fn(ActivityContext, Payload) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Payload, ActivityError>> + Send + 'static,
    {
        let name_in_code = name.to_owned();
        let erased: ActivityCode = Arc::new(move |context, payload| {
            let (work, name) = (code(context, payload), name_in_code.clone());
            async move {
                let output = work.await.map_err(ActivityError::into_failure)?;
                encoded(&name, &output)
            }
            .boxed()
        });
        self.add_code(name, erased);
    }

    pub(crate) fn get(&self, name: &Name) -> Option<ActivityCode> {
        self.activities.get(name).cloned()
    }

    pub(crate) fn names(&self) -> Vec<Name> {
        self.activities.keys().cloned().collect()
    }

    /// What was wrong with what was added; reported when the worker starts.
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }

    fn add_code(&mut self, name: &str, code: ActivityCode) {
        match Name::new(name) {
            Err(error) => self.faults.push(format!("activity {name:?}: {error}")),
            Ok(name) => {
                if self.activities.insert(name.clone(), code).is_some() {
                    self.faults.push(format!("two activities are named `{name}`; rename one with name = \"…\""));
                }
            }
        }
    }
}

impl std::fmt::Debug for ActivityRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.activities.keys()).finish()
    }
}

fn unreadable<A: Activity>(error: &serde_json::Error) -> Failure {
    let expected = std::any::type_name::<A::Input>();
    Failure::new(FailureKind::Payload, format!("the input of activity `{}` is not a `{expected}`: {error}", A::NAME))
}

fn encoded<T: serde::Serialize + ?Sized>(name: &str, output: &T) -> Result<Payload, Failure> {
    let payload = Payload::encode(output).map_err(|error| {
        Failure::new(FailureKind::Payload, format!("the result of activity `{name}` has no JSON form: {error}"))
    })?;
    if payload.size() > MAX_PAYLOAD_BYTES {
        let message = format!(
            "the result of activity `{name}` has {} bytes; at most {MAX_PAYLOAD_BYTES} are allowed: store it \
             elsewhere and return where",
            payload.size()
        );
        return Err(Failure::new(FailureKind::Payload, message));
    }
    Ok(payload)
}
