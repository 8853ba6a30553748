//! Compares the clock of this machine with the `Date` header of an endpoint.

use std::io;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::finding::{CheckOutcome, Failure};
use crate::clock;
use crate::error_class::ErrorClass;
use crate::network::{Endpoint, NetworkStream};
use crate::printable::Printable;
use crate::quantity;

/// What an endpoint answers to an unsigned request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answer {
    /// Its time and that of this machine; `None`: its response has no date, or is not HTTP.
    times: Option<Times>,
    /// It is a page for a browser, which is not from AWS.
    pub(super) is_web_page: bool,
}

/// The time of an endpoint, and that of this machine at that moment.
#[derive(Clone, Copy, Debug)]
struct Times {
    theirs: SystemTime,
    ours: SystemTime,
}

/// Sends an unsigned request to an endpoint, which shows its time, whatever it answers.
pub(super) async fn ask(stream: &mut NetworkStream, endpoint: &Endpoint) -> io::Result<Answer> {
    let host = endpoint.to_string();
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut limited = stream.take(MAX_HEAD);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let ours = clock::wall();
    let date = field(&head, "date").and_then(parse);
    let media_type = field(&head, "content-type").unwrap_or_default();
    Ok(Answer {
        times: date.map(|theirs| Times { theirs, ours }),
        is_web_page: media_type.to_ascii_lowercase().starts_with("text/html"),
    })
}

/// Judges the difference between both clocks.
pub(super) fn judge(answer: Answer) -> CheckOutcome<()> {
    let Some(Times { theirs, ours }) = answer.times else {
        return CheckOutcome::Skip("the response of the SSM API has no date".into());
    };
    let (skew, word) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    let seconds = skew.as_secs();
    if skew <= ROUNDING {
        return CheckOutcome::Pass((), "as that of the SSM API".into());
    }
    let text = Printable::of(format_args!(
        "the clock of this machine is {} {word} that of the SSM API",
        quantity::time(seconds)
    ));
    if skew < MAX_SKEW {
        return CheckOutcome::Pass((), text);
    }
    let remedy = "correct the clock (`timedatectl`); AWS rejects signatures that differ by more than five minutes";
    Failure::new(ErrorClass::ClockSkew, text, remedy).into()
}

/// Returns the value of a header field of a response.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines();
    lines.next().filter(|first| first.starts_with("HTTP/1."))?;
    let fields = lines.filter_map(|line| line.split_once(':'));
    let mut found = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim())
}

/// Parses a date of HTTP, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse(date: &str) -> Option<SystemTime> {
    let (_weekday, date) = date.strip_suffix(" GMT")?.split_once(", ")?;
    let mut parts = date.split(' ');
    let mut next = || parts.next();
    let day: u64 = next()?.parse().ok()?;
    let name = next()?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let year: u64 = next()?.parse().ok()?;
    let time: Vec<u64> = next()?.split(':').map_while(|n| n.parse().ok()).collect();
    let [hours, minutes, seconds] = time[..] else {
        return None;
    };
    let is_sane = (1970..10_000).contains(&year)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds <= 60;
    let years = Some(year).filter(|_| is_sane)? - 1970;
    // Leap days before this year, and before this month.
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leap_days(year) > leap_days(year - 1);
    let leap_day = u64::from(is_leap && month > 1);
    let days = years * 365 + leap_days(year - 1) - leap_days(1969)
        + DAYS_BEFORE[month]
        + leap_day
        + (day - 1);
    let seconds = days * 86_400 + hours * 3600 + minutes * 60 + seconds;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Days before each month of a year that is not a leap year.
const DAYS_BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// A date has no fractions of a second, and the response takes some time.
const ROUNDING: Duration = Duration::from_secs(5);

/// The difference above which AWS rejects signatures, less some seconds.
const MAX_SKEW: Duration = Duration::from_secs(290);

/// Maximum length of the head of a response.
const MAX_HEAD: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(date: &str) -> Option<u64> {
        let time = parse(date)?.duration_since(SystemTime::UNIX_EPOCH);
        Some(time.unwrap().as_secs())
    }

    #[test]
    fn dates_of_http_are_parsed() {
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 12:00:00 GMT", 951_825_600),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Fri, 31 Dec 2100 23:59:59 GMT", 4_133_980_799),
            ("Sat, 28 Nov 2026 05:00:00 GMT", 1_795_842_000),
        ] {
            assert_eq!(seconds(date), Some(expected), "{date}");
        }
    }

    #[test]
    fn other_texts_are_not_dates() {
        for date in [
            "",
            "now",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 0 Nov 1994 08:49:37 GMT",
            "Sun, 06 Now 1994 08:49:37 GMT",
            "Sun, 06 Nov 18446744073709551615 08:49:37 GMT",
            "Sun, 06 Nov 1994 99:49:37 GMT",
        ] {
            assert_eq!(seconds(date), None, "{date}");
        }
    }

    #[test]
    fn only_a_response_of_http_has_a_date() {
        let date = "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";

        let date_of = |head: &str| field(head, "Date").and_then(parse);

        assert!(date_of(&format!("HTTP/1.1 404 X\r\na: b\r\n{date}\r\n")).is_some());
        assert!(date_of(&format!("SSH-2.0-x\r\n{date}\r\n")).is_none());
        assert!(date_of("HTTP/1.1 200 X\r\n\r\n").is_none());
        assert!(date_of("").is_none());
    }

    #[test]
    fn a_skew_of_five_minutes_is_a_failure() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let judged = |theirs, ours| {
            let (theirs, ours) = (at(theirs), at(ours));
            judge(Answer {
                times: Some(Times { theirs, ours }),
                is_web_page: false,
            })
        };

        assert!(matches!(judged(1000, 1001), CheckOutcome::Pass(..)));
        assert!(matches!(judged(1000, 1100), CheckOutcome::Pass(..)));
        assert!(matches!(judged(1000, 1300), CheckOutcome::Fail(_)));
        assert!(matches!(judged(1000, 600), CheckOutcome::Fail(_)));
        assert!(matches!(judge(Answer::default()), CheckOutcome::Skip(_)));
    }
}
