//! The HTTP model against a local server that answers as real ones do on bad days.

#![allow(clippy::unwrap_used, reason = "a test may fail where it finds something it did not expect")]

use std::time::Duration;

use document_pipeline::model::http::{HttpModel, SetUpError};
use document_pipeline::model::{FactKind, HttpOptions, LanguageModel, Material, ModelError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with the one request that it takes.
enum Behaviour {
    /// Answer with these bytes and close.
    Answer(String),
    /// Take the request and never answer.
    Hang,
}

/// A server for one request; resolves to the request that it got.
struct Server {
    url: String,
    request: tokio::task::JoinHandle<(String, Value)>,
}

impl Server {
    async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let request = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read_request(&mut stream).await;
            match behaviour {
                Behaviour::Answer(text) => {
                    stream.write_all(text.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                }
                Behaviour::Hang => {
                    // Held open until the client gives up and closes.
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).await.ok();
                }
            }
            request
        });
        Self { url, request }
    }

    async fn answering(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}Connection: close\r\n\r\n");
        Self::start(Behaviour::Answer(head + body)).await
    }
}

async fn read_request(stream: &mut TcpStream) -> (String, Value) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return (head.to_owned(), body);
        }
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the client sent no complete request: {text}");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn model(url: &str, timeout_seconds: u64) -> HttpModel {
    let options = HttpOptions {
        base_url: Some(url.to_owned()),
        model: Some("test-model".to_owned()),
        key: Some("secret".to_owned()),
        timeout_seconds,
    };
    HttpModel::new(url, &options).unwrap()
}

fn completion(content: &str) -> String {
    json!({"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]})
        .to_string()
}

fn material() -> Material {
    Material { title: "Title".into(), opening: "Opening.".into(), facts: Vec::new() }
}

async fn summary_from(server: &Server) -> Result<String, ModelError> {
    model(&server.url, 30).summarize(&material()).await
}

#[tokio::test]
async fn a_good_answer_is_taken_and_the_request_is_as_documented() {
    let server = Server::answering("200 OK", "", &completion(" It is about whales. ")).await;
    assert_eq!(summary_from(&server).await.unwrap(), "It is about whales.");
    let (head, body) = server.request.await.unwrap();
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert!(head.to_lowercase().contains("authorization: bearer secret"), "{head}");
    assert_eq!(body["model"], "test-model");
    assert!(body["messages"][1]["content"].as_str().unwrap().contains("Opening."), "{body}");
}

#[tokio::test]
async fn facts_are_read_even_from_a_fence_and_unknown_kinds_are_other() {
    let content = "```json\n[{\"statement\": \"There are 12.\", \"kind\": \"quantity\"}, \
                   {\"statement\": \"So it is.\", \"kind\": \"gossip\"}]\n```";
    let server = Server::answering("200 OK", "", &completion(content)).await;
    let facts = model(&server.url, 30).extract_facts("section").await.unwrap();
    assert_eq!(facts.iter().map(|fact| fact.kind).collect::<Vec<_>>(), [FactKind::Quantity, FactKind::Other]);
}

#[tokio::test]
async fn too_many_requests_are_tried_again_when_the_server_says() {
    let server = Server::answering("429 Too Many Requests", "Retry-After: 7\r\n", "slow down").await;
    let wait = Some(Duration::from_secs(7));
    assert_eq!(summary_from(&server).await, Err(ModelError::RateLimited { retry_after: wait }));

    let server = Server::answering("429 Too Many Requests", "", "").await;
    assert_eq!(summary_from(&server).await, Err(ModelError::RateLimited { retry_after: None }));
}

#[tokio::test]
async fn retry_after_may_be_a_date_and_is_bounded() {
    let past = "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n";
    let server = Server::answering("429 Too Many Requests", past, "").await;
    let now = Some(Duration::ZERO);
    assert_eq!(summary_from(&server).await, Err(ModelError::RateLimited { retry_after: now }));

    let server = Server::answering("429 Too Many Requests", "Retry-After: 99999999999\r\n", "").await;
    let hour = Some(Duration::from_secs(3_600));
    assert_eq!(summary_from(&server).await, Err(ModelError::RateLimited { retry_after: hour }));

    let server = Server::answering("429 Too Many Requests", "Retry-After: soon\r\n", "").await;
    assert_eq!(summary_from(&server).await, Err(ModelError::RateLimited { retry_after: None }));
}

#[tokio::test]
async fn a_failing_server_is_told_from_a_request_that_it_refuses() {
    let server = Server::answering("500 Internal Server Error", "", "oops").await;
    assert_eq!(summary_from(&server).await, Err(ModelError::Server { status: 500, body: "oops".into() }));

    let server = Server::answering("401 Unauthorized", "", "wrong key").await;
    assert_eq!(
        summary_from(&server).await,
        Err(ModelError::Refused { status: 401, body: "wrong key".into() })
    );
}

#[tokio::test]
async fn a_truncated_body_is_no_answer() {
    let whole = completion("It is about whales.");
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", whole.len(), &whole[..20]);
    let server = Server::start(Behaviour::Answer(text)).await;
    assert!(matches!(summary_from(&server).await, Err(ModelError::Unreachable(_))));

    // The length fits, but the JSON ends early.
    let server = Server::answering("200 OK", "", &whole[..20]).await;
    assert!(matches!(summary_from(&server).await, Err(ModelError::Unusable(_))));

    // The model itself was cut off.
    let cut = json!({"choices": [{"message": {"content": "It is"}, "finish_reason": "length"}]}).to_string();
    let server = Server::answering("200 OK", "", &cut).await;
    assert!(matches!(summary_from(&server).await, Err(ModelError::Unusable(_))));
}

#[tokio::test]
async fn answers_of_another_shape_are_unusable() {
    for body in
        ["", "null", "<html>", "{\"choices\": []}", "{\"choices\": [{\"message\": {\"content\": null}}]}"]
    {
        let server = Server::answering("200 OK", "", body).await;
        assert!(matches!(summary_from(&server).await, Err(ModelError::Unusable(_))), "{body}");
    }
    let server = Server::answering("200 OK", "", &completion("Here are the facts: none")).await;
    let facts = model(&server.url, 30).extract_facts("section").await;
    assert!(matches!(facts, Err(ModelError::Unusable(_))), "{facts:?}");
}

#[tokio::test]
async fn an_endless_answer_is_refused() {
    let body = " ".repeat(2 * 1024 * 1024);
    let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let server = Server::start(Behaviour::Answer(text)).await;
    let outcome = summary_from(&server).await;
    server.request.abort();
    assert!(matches!(outcome, Err(ModelError::Unusable(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let server = Server::start(Behaviour::Hang).await;
    let outcome = model(&server.url, 1).summarize(&material()).await;
    assert_eq!(outcome, Err(ModelError::TimedOut(Duration::from_secs(1))));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let outcome = model(&url, 30).summarize(&material()).await;
    assert!(matches!(outcome, Err(ModelError::Unreachable(_))), "{outcome:?}");
}

#[test]
fn each_error_says_whether_and_when_to_try_again() {
    let failure = |error: ModelError| error.into_activity_error().into_failure();
    let limited = failure(ModelError::RateLimited { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!((limited.next_retry_delay_ms, limited.non_retryable), (Some(7_000), false));
    let refused = failure(ModelError::Refused { status: 401, body: String::new() });
    assert!(refused.non_retryable);
    for error in [
        ModelError::RateLimited { retry_after: None },
        ModelError::Server { status: 500, body: String::new() },
        ModelError::Unreachable(String::new()),
        ModelError::TimedOut(Duration::from_secs(1)),
        ModelError::Unusable(String::new()),
    ] {
        let failure = failure(error);
        assert_eq!((failure.next_retry_delay_ms, failure.non_retryable), (None, false), "{failure}");
    }
}

#[test]
fn bad_options_are_named() {
    let options = |model: Option<&str>| HttpOptions {
        base_url: None,
        model: model.map(str::to_owned),
        key: None,
        timeout_seconds: 1,
    };
    let missing = HttpModel::new("http://localhost/v1", &options(None)).unwrap_err();
    assert!(missing.to_string().contains("MODEL_NAME"), "{missing}");
    let address = HttpModel::new("ftp://localhost", &options(Some("m"))).unwrap_err();
    assert!(matches!(address, SetUpError::Address { .. }), "{address}");
    assert!(!format!("{:?}", HttpOptions { key: Some("secret".into()), ..options(None) }).contains("secret"));
}
