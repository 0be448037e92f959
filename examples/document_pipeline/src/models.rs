//! The activities that need a language model, on queue `models`: slow, costly, limited in number.

use std::sync::Arc;
use std::time::Duration;

use example_ledger::Ledger;
use serde::{Deserialize, Serialize};
use stepwell::prelude::*;

use crate::model::{Fact, LanguageModel, Material, ModelError};

/// What the model activities share.
#[derive(Clone)]
pub struct Models {
    /// The model.
    pub model: Arc<dyn LanguageModel>,
    /// Waited before each call, so that a model without a network takes as long as one with.
    pub latency: Duration,
    /// Where every attempt is noted.
    pub ledger: Ledger,
}

/// A summary, and who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The text.
    pub text: String,
    /// The model's name.
    pub model: String,
}

#[activities]
impl Models {
    /// The facts in a section of a document.
    #[activity(queue = "models", start_to_close = "2m", retry(max_attempts = 8, max_interval = "1m"))]
    pub async fn extract_facts(
        &self,
        ctx: ActivityContext,
        section: String,
    ) -> Result<Vec<Fact>, ActivityError> {
        let asking = async {
            tokio::time::sleep(self.latency).await;
            self.model.extract_facts(&section).await.map_err(ModelError::into_activity_error)
        };
        self.ledger.around(&ctx, asking).await
    }

    /// What a document is about.
    #[activity(queue = "models", start_to_close = "2m", retry(max_attempts = 8, max_interval = "1m"))]
    pub async fn write_summary(
        &self,
        ctx: ActivityContext,
        material: Material,
    ) -> Result<Summary, ActivityError> {
        let asking = async {
            tokio::time::sleep(self.latency).await;
            let text = self.model.summarize(&material).await.map_err(ModelError::into_activity_error)?;
            Ok(Summary { text, model: self.model.name().to_owned() })
        };
        self.ledger.around(&ctx, asking).await
    }
}
