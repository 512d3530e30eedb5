//! The whole house behind its routes, in one process: real files, real SQLite, a clock that the
//! test moves.

mod accounts;
mod cors;
mod credentials;
mod deletion;
mod groups;
mod idempotency;
mod links;
mod monitor;
mod networks;
mod orders;
mod prompts;
mod refusals;
mod revocation;
mod roles;
mod rows;
mod usage;

use actix_web::App as WebApp;
use actix_web::dev::Service;
use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, init_service, read_body};
use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock, Timestamp};

pub(super) const PASSWORD: &str = "seven green bottles on a wall";

/// A server that is not on the network.
pub(super) struct House {
    data: tempfile::TempDir,
    pub(super) app: App,
    pub(super) clock: Clock,
}

/// A browser that is signed in, or a program with a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Visitor {
    pub(super) cookie: Option<String>,
    pub(super) csrf: Option<String>,
    pub(super) key: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) cookie: Option<String>,
    pub(super) retry_after: Option<u64>,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(super) fn code(&self) -> &str {
        let error = &self.body["error"];
        let code = error["code"].as_str().or(error["details"]["error_code"].as_str());
        code.unwrap_or_default()
    }
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A house with some settings of its own.
    pub(super) async fn with(settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let clock = Clock::manual(Timestamp::from_ms(1_800_000_000_000));
        let own = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self::open(data, clock, own.collect()).await
    }

    /// The same house after its server was stopped, something was done, and it was started again.
    pub(super) async fn reopened(self, between: impl FnOnce(&std::path::Path)) -> Self {
        let Self { data, app, clock } = self;
        let file = app.home.database();
        drop(app);
        // The lock goes with the last part that is still at work.
        for _ in 0..200 {
            if crate::db::lock::DataLock::acquire(&data.path().join("data"), clock.now()).is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        between(&file);
        Self::open(data, clock, Vec::new()).await
    }

    async fn open(data: tempfile::TempDir, clock: Clock, own: Vec<(String, String)>) -> Self {
        let runtime = Handle::current();
        let work = move || Self::open_now(data, clock, own, runtime);
        tokio::task::spawn_blocking(work).await.expect("opens")
    }

    fn open_now(
        data: tempfile::TempDir,
        clock: Clock,
        own: Vec<(String, String)>,
        runtime: Handle,
    ) -> Self {
        let directory = data.path().join("data");
        let mut flags = vec![("server.data_dir".to_owned(), directory.display().to_string())];
        flags.extend(own);
        let config = Config::from_layers(None, &[], &flags).expect("settings");
        let home = Home::open_with(config.settings(), || unreachable!("a key file"))
            .expect("a home")
            .with_clock(clock.clone());
        let app = App::build(&home, &config, runtime).expect("a house");
        Self { data, app, clock }
    }

    /// Sends one request through the shell and every check.
    pub(super) async fn send(
        &self,
        from: &Visitor,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = TestRequest::with_uri(path)
            .method(method)
            .peer_addr("192.0.2.7:4000".parse().expect("an address"))
            .insert_header(("host", "localhost"));
        if let Some(cookie) = &from.cookie {
            request = request.insert_header(("cookie", format!("__Host-strongroom={cookie}")));
        }
        if let Some(csrf) = &from.csrf {
            request = request.insert_header(("x-strongroom-csrf", csrf.as_str()));
        }
        if let Some(key) = &from.key {
            request = request.insert_header(("authorization", format!("Bearer {key}")));
        }
        if let Some(body) = body {
            request = request.set_json(body);
        }
        self.call(request).await
    }

    pub(super) async fn call(&self, request: TestRequest) -> Answer {
        self.call_with(request, None).await
    }

    /// The same, with a body that comes in pieces.
    pub(super) async fn call_with(
        &self,
        request: TestRequest,
        body: Option<actix_web::dev::Payload>,
    ) -> Answer {
        let service = init_service(
            WebApp::new()
                .wrap(from_fn(answer_once))
                .wrap(from_fn(tell_limits))
                .wrap(from_fn(surround))
                .app_data(Data::new(shell(&self.app.settings)))
                .configure(self.app.service())
                .default_service(actix_web::web::to(route::nowhere)),
        )
        .await;
        let mut request = request.to_request();
        if let Some(body) = body {
            request = request.replace_payload(body).0;
        }
        let response = service.call(request).await.expect("an answer");
        let status = response.status();
        let cookie = response.response().cookies().next();
        let cookie = cookie.map(|cookie| cookie.value().to_owned()).filter(|it| !it.is_empty());
        let header = response.headers().get("retry-after");
        let retry_after = header.and_then(|value| value.to_str().ok()?.parse().ok());
        let headers = response.headers().clone();
        let body = read_body(response).await;
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, cookie, retry_after, headers, body }
    }

    pub(super) async fn post(&self, from: &Visitor, path: &str, body: Value) -> Answer {
        self.send(from, Method::POST, path, Some(body)).await
    }

    pub(super) async fn get(&self, from: &Visitor, path: &str) -> Answer {
        self.send(from, Method::GET, path, None).await
    }

    /// What a sign-in answered with, as the browser that got it.
    pub(super) fn browser(answer: &Answer) -> Visitor {
        assert!(answer.status.is_success(), "{answer:?}");
        Visitor {
            cookie: answer.cookie.clone(),
            csrf: answer.body["csrf"].as_str().map(str::to_owned),
            key: None,
        }
    }

    /// Redeems a set-up link: the owner's browser.
    pub(super) async fn owner(&self) -> Visitor {
        let secret = self.app.accounts.make_setup_secret().await.expect("a link");
        let body = json!({
            "token": secret.expose(), "username": "olga", "display_name": "Olga", "password": PASSWORD,
        });
        Self::browser(&self.post(&Visitor::default(), "/api/setup", body).await)
    }

    /// Invites a person and redeems their link: their id and browser.
    pub(super) async fn person(
        &self,
        by: &Visitor,
        name: &str,
        roles: &[&str],
    ) -> (String, Visitor) {
        let body = json!({ "username": name, "display_name": name, "roles": roles });
        let invited = self.post(by, "/api/admin/people", body).await;
        assert_eq!(invited.status, StatusCode::CREATED, "{invited:?}");
        let id = invited.body["person"]["id"].as_str().expect("an id").to_owned();
        let body = json!({ "token": link_secret(&invited), "password": PASSWORD });
        let answer = self.post(&Visitor::default(), "/api/invitation", body).await;
        (id, Self::browser(&answer))
    }

    /// A key of the visitor's own.
    pub(super) async fn key(&self, of: &Visitor, body: Value) -> (String, Visitor) {
        let made = self.post(of, "/api/me/keys", body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        let id = made.body["key"]["id"].as_str().expect("an id").to_owned();
        let key = made.body["secret"].as_str().map(str::to_owned);
        (id, Visitor { key, ..Visitor::default() })
    }
}

/// The secret in an invitation's link.
pub(super) fn link_secret(answer: &Answer) -> String {
    let link = answer.body["invitation_link"].as_str().expect("a link");
    link.split_once('#').expect("a fragment").1.to_owned()
}
