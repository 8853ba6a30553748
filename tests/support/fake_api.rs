//! A fake SSM API with responses chosen by the test, where the simulator would be too well-behaved;
//! and a proxy before the API of the simulator that records the calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use aws_sdk_ssm::primitives::{DateTime, DateTimeFormat};
use ssm_proxyd::sim::Credentials;

use super::message_builder::gateway;

/// The API. Its threads end with the test binary.
#[derive(Debug)]
pub(crate) struct Api {
    address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Api {
    /// Starts sessions with this body, and ends them.
    pub(crate) fn starting(body: String) -> Self {
        Self::new(move |_, call, _| match call.operation.as_str() {
            "StartSession" => (200, body.clone()),
            _ => (200, "{}".to_owned()),
        })
    }

    /// Starts and resumes sessions with the result of `body` and ends them, but never answers calls
    /// of the operation `hangs`.
    pub(crate) fn hanging_in(
        hangs: &'static str,
        body: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |_, call, _| match call.operation.as_str() {
            operation if operation == hangs => never_return(),
            "StartSession" | "ResumeSession" => (200, body()),
            _ => (200, "{}".to_owned()),
        })
    }

    /// Answers every call with this status and body.
    pub(crate) fn answering(status: u16, body: String) -> Self {
        Self::new(move |_, _, _| (status, body.clone()))
    }

    /// Answers an operation and its body with the result of `answer`.
    pub(crate) fn by(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        Self::new(move |_, call, _| answer(&call.operation, &call.body))
    }

    /// A security token service (STS) that permits everyone to assume every role.
    pub(crate) fn sts(credentials: &Credentials) -> Self {
        let body = format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleResult><Credentials><AccessKeyId>{}</AccessKeyId>\
             <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
             <Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
             </AssumeRoleResponse>",
            credentials.access_key_id,
            credentials.secret_access_key,
            credentials.session_token.as_deref().unwrap(),
        );
        Self::answering(200, body)
    }

    /// An STS that gives each role session keys of its own, which expire after `life`: `keys` makes
    /// them from the name of the role session.
    pub(crate) fn sts_per_session(
        life: Duration,
        keys: impl Fn(&str) -> Credentials + Send + Sync + 'static,
    ) -> Self {
        Self::sts_by(life, move |body| {
            keys(field(body, "RoleSessionName=").unwrap_or_default())
        })
    }

    /// The same with the name of the role.
    pub(crate) fn sts_per_role(
        life: Duration,
        keys: impl Fn(&str) -> Credentials + Send + Sync + 'static,
    ) -> Self {
        Self::sts_by(life, move |body| {
            let role = field(body, "RoleArn=").unwrap_or_default();
            keys(role.rsplit("%2F").next().unwrap_or_default())
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the SDK compares an expiry with the wall clock"
    )]
    fn sts_by(life: Duration, keys: impl Fn(&str) -> Credentials + Send + Sync + 'static) -> Self {
        Self::new(move |_, call, _| {
            let keys = keys(&call.body);
            let operation = &call.operation;
            let expiry = SystemTime::now() + life;
            let expiry = DateTime::from(expiry)
                .fmt(DateTimeFormat::DateTime)
                .unwrap();
            let body = format!(
                "<{operation}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                 <{operation}Result><Credentials><AccessKeyId>{}</AccessKeyId>\
                 <SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
                 <Expiration>{expiry}</Expiration></Credentials></{operation}Result>\
                 </{operation}Response>",
                keys.access_key_id,
                keys.secret_access_key,
                keys.session_token.as_deref().unwrap(),
            );
            (200, body)
        })
    }

    /// Passes calls on to `real`, except the first few, which are never answered.
    pub(crate) fn before(real: SocketAddr, unanswered: usize) -> Self {
        Self::before_with(real, move |number| match number < unanswered {
            true => never_return(),
            false => None,
        })
    }

    /// Passes calls on to `real`, except those that `answer` answers by their number.
    pub(crate) fn before_with(
        real: SocketAddr,
        answer: impl Fn(usize) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        Self::new(move |number, _, text| {
            if let Some(answer) = answer(number) {
                return answer;
            }
            let mut upstream = TcpStream::connect(real).unwrap();
            upstream.write_all(text).unwrap();
            let (head, body) = read(&mut BufReader::new(upstream)).unwrap();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            (status, String::from_utf8(body).unwrap())
        })
    }

    /// Serves every call with the result of `answer` for its number, itself and its text: a status
    /// and a body, or [`HANG_UP`].
    pub(crate) fn new(
        answer: impl Fn(usize, &Call, &[u8]) -> (u16, String) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let (answer, record) = (Arc::new(answer), Arc::clone(&calls));
        thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                thread::spawn(move || serve(connection, &*answer, &record));
            }
        });
        Self { address, calls }
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All calls so far.
    pub(crate) fn all(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// The calls of an operation so far.
    pub(crate) fn calls(&self, operation: &str) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        let fitting = calls.iter().filter(|call| call.operation == operation);
        fitting.cloned().collect()
    }
}

/// A call of the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// `StartSession`, `TerminateSession`, …
    pub(crate) operation: String,
    /// The body of the call.
    pub(crate) body: String,
    /// The body of the response, once there is one.
    pub(crate) answer: Option<String>,
}

fn serve(
    connection: TcpStream,
    answer: &impl Fn(usize, &Call, &[u8]) -> (u16, String),
    record: &Mutex<Vec<Call>>,
) {
    let mut incoming = BufReader::new(connection.try_clone().unwrap());
    let mut outgoing = connection;
    while let Some((head, body)) = read(&mut incoming) {
        let text = String::from_utf8(body.clone()).unwrap();
        let call = Call {
            operation: operation(&head, &text).to_owned(),
            body: text,
            answer: None,
        };
        let number = note(record, call.clone());
        let (status, body) = answer(number, &call, &[head.as_bytes(), &body].concat());
        if status == HANG_UP {
            return;
        }
        record.lock().unwrap()[number].answer = Some(body.clone());
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n");
        let media_type = "content-type: application/x-amz-json-1.1\r\n\
                          x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n";
        let text = head + media_type + &body;
        if outgoing.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// A field of a form.
fn field<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    body.split('&').find_map(|field| field.strip_prefix(name))
}

/// In the head for the SSM API, in the form for STS; otherwise the path.
fn operation<'a>(head: &'a str, body: &'a str) -> &'a str {
    let of_form = || field(body, "Action=");
    let operation = header(head, "x-amz-target").or_else(of_form);
    let path = || head.split([' ', '?']).nth(1).unwrap_or_default();
    operation.map_or_else(path, |named| named.rsplit('.').next().unwrap_or_default())
}

/// Instead of a status: the connection ends without a response.
pub(crate) const HANG_UP: u16 = 0;

fn never_return() -> ! {
    loop {
        thread::park();
    }
}

/// Records a call and returns its number, from 0.
fn note(record: &Mutex<Vec<Call>>, call: Call) -> usize {
    let mut calls = record.lock().unwrap();
    calls.push(call);
    calls.len() - 1
}

/// Reads the head and the body of one HTTP message; `None` at the end.
fn read(from: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut fitting = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    fitting.next().map(|(_, value)| value.trim())
}

/// A server that responds to each request with a web page, as a captive portal does.
pub(crate) fn captive_portal() -> SocketAddr {
    gateway(|mut client| {
        let page = "<html>Please log in</html>";
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", page.len());
        let text = format!("{head}Content-Type: text/html\r\n\r\n{page}");
        while client.read(&mut [0; 4096]).is_ok_and(|len| len > 0) {
            let _gone = client.write_all(text.as_bytes());
        }
    })
}
