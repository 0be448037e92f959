//! Workflows of Restate, started over its HTTP ingress.

use anyhow::{Context as _, Result, bail};
use reqwest::{RequestBuilder, Response};
use stepwell_bench_measure::payload::text;

use crate::payload::Plan;
use crate::peer::{Client, Workflow};

/// The header that names an invocation.
const INVOCATION: &str = "x-restate-id";

/// The ingress.
pub(crate) struct Ingress {
    url: String,
    http: reqwest::Client,
}

impl Ingress {
    pub(crate) fn new(url: String) -> Result<Self> {
        let http = reqwest::Client::builder().tcp_nodelay(true).no_proxy().build()?;
        Ok(Self { url, http })
    }

    /// Starts a workflow, or sends to one, and waits for the answer.
    async fn call(&self, target: &str, plan: &Plan) -> Result<()> {
        let url = format!("{}/restate/call/{target}", self.url);
        answered(self.http.post(url).json(plan)).await?.bytes().await?;
        Ok(())
    }

    /// Waits until it is recorded that `target` is to run; returns the invocation's id.
    async fn send<T: serde::Serialize + Sync>(&self, target: &str, body: &T) -> Result<String> {
        let url = format!("{}/restate/send/{target}", self.url);
        let response = answered(self.http.post(url).json(body)).await?;
        let id = response.headers().get(INVOCATION).context("the answer names no invocation")?;
        let id = id.to_str()?.to_owned();
        response.bytes().await?;
        Ok(id)
    }
}

impl Client for Ingress {
    async fn run(&self, workflow: Workflow, id: &str, plan: &Plan) -> Result<()> {
        match workflow {
            Workflow::Steps => self.call(&format!("BenchSteps/{id}/run"), plan).await,
            Workflow::InProcess => self.call(&format!("BenchInProcess/{id}/run"), plan).await,
            Workflow::FanOut => self.call(&format!("BenchFanOut/{id}/run"), plan).await,
            Workflow::Signalled => {
                let started = self.send(&format!("BenchSignalled/{id}/run"), plan).await?;
                self.send(&format!("BenchSignalled/{id}/go"), &text()).await?;
                let url = format!("{}/restate/attach/{started}", self.url);
                answered(self.http.get(url)).await?.bytes().await?;
                Ok(())
            }
        }
    }
}

async fn answered(request: RequestBuilder) -> Result<Response> {
    let response = request.send().await?;
    let status = response.status();
    if !status.is_success() {
        bail!("the ingress answers {status}: {}", response.text().await?);
    }
    Ok(response)
}
