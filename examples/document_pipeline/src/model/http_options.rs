//! Where the remote model is and how to use it: from flags or the environment.

use std::time::Duration;

use thiserror::Error;

/// How to reach an OpenAI-compatible server.
#[derive(Clone, clap::Args)]
pub struct HttpOptions {
    /// Base address of an OpenAI-compatible API, such as `https://api.openai.com/v1` or
    /// `http://localhost:11434/v1`. Without it the offline model is used.
    #[arg(long = "model-url", env = "MODEL_BASE_URL")]
    pub base_url: Option<String>,
    /// The model's name, as the server knows it.
    #[arg(long = "model", env = "MODEL_NAME")]
    pub model: Option<String>,
    /// The key, if the server wants one. Prefer the environment: flags are visible to other users.
    #[arg(long = "model-key", env = "MODEL_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Longest time for one request, in seconds.
    #[arg(long = "model-timeout", env = "MODEL_TIMEOUT", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    pub timeout_seconds: u64,
}

/// An option that the remote model needs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} is missing; give {flag} or set {variable}")]
pub struct MissingOption {
    /// What is missing.
    pub what: &'static str,
    /// The flag that sets it.
    pub flag: &'static str,
    /// The environment variable that sets it.
    pub variable: &'static str,
}

impl HttpOptions {
    /// The timeout of one request.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// The model's name.
    ///
    /// # Errors
    /// When it is missing or empty.
    pub fn model_name(&self) -> Result<String, MissingOption> {
        let missing = MissingOption { what: "the model's name", flag: "--model", variable: "MODEL_NAME" };
        self.model.clone().filter(|name| !name.is_empty()).ok_or(missing)
    }
}

impl std::fmt::Debug for HttpOptions {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpOptions")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("key", &self.key.as_ref().map(|_| "(hidden)"))
            .field("timeout_seconds", &self.timeout_seconds)
            .finish()
    }
}
