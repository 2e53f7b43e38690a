//! What an answer says, and whether to believe it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::der::{
    BOOLEAN, ENUMERATED, GENERALIZED_TIME, INTEGER, Malformed, NULL, OCTET_STRING, OID, Reader,
    SEQUENCE, inside, plain,
};
use super::signed::{Signed, has_issued};
use super::{CertId, SHA1, Subject, key_hash};

/// id-pkix-ocsp-basic, 1.3.6.1.5.5.7.48.1.1.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

/// How far the responder's clock may be before ours.
const LEEWAY: Duration = Duration::from_secs(300);

/// How long an answer is good that does not say it: its responder always knows of something newer
/// (RFC 6960, section 4.2.2.1), which clients would have to ask it for.
const UNSAID: Duration = Duration::from_secs(3600);

/// How many certificates of delegates are looked at.
const DELEGATES: usize = 4;

/// How many certificates an answer may be about.
const ABOUT: usize = 64;

/// An answer that its CA stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub status: Status,
    /// Since when that is known.
    pub since: SystemTime,
    /// Until when it may be shown.
    pub until: SystemTime,
}

/// What an answer says of a certificate (RFC 6960, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is not revoked.
    Good,
    /// It is revoked, since then.
    Revoked(SystemTime),
    /// The responder does not know it.
    Unknown,
}

/// Why an answer is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is no answer of OCSP.
    Malformed,
    /// The responder says that it gives none (RFC 6960, section 2.3).
    Unsuccessful(&'static str),
    /// It is of a kind that nobody here knows.
    OtherKind,
    /// It says something that has to be understood and is not.
    Critical,
    /// It is about other certificates.
    Other,
    /// Neither the certificate's issuer nor who may answer for it has signed it.
    NotSigned,
    /// It begins to be good later.
    Early,
    /// It is not good any more.
    Expired,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "what came is no answer of OCSP",
            Self::Unsuccessful(why) => return write!(f, "the responder gives no answer: {why}"),
            Self::OtherKind => "the answer is of a kind that is not known",
            Self::Critical => "the answer has a critical extension that is not known",
            Self::Other => "the answer is about another certificate",
            Self::NotSigned => {
                "the answer is signed neither by the certificate's issuer nor by who may answer \
                 for it now"
            }
            Self::Early => "the answer is of a time to come: is one of the clocks wrong?",
            Self::Expired => "the answer is out of date",
        })
    }
}

impl From<Malformed> for Refused {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl Subject {
    /// What an answer says of this certificate at `now`.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn read(&self, der: &[u8], now: SystemTime) -> Result<Answer, Refused> {
        let mut basic = Reader::new(basic(der)?).enter(SEQUENCE)?;
        let signed = Signed::read(&mut basic)?;
        let certificates = basic.optional(inside(0))?;
        basic.end()?;
        let data = Data::read(Reader::new(signed.what.contents))?;
        let single = data.single(&self.id)?;
        let (_, issuer) = X509Certificate::from_der(&self.issuer).map_err(|_| Malformed)?;
        let certificates = certificates.map(|all| all.contents);
        if !is_vouched_for(&signed, &data, &issuer, certificates, now)? {
            return Err(Refused::NotSigned);
        }
        let until = single.until.unwrap_or_else(|| single.since + UNSAID);
        if single.since > now + LEEWAY {
            return Err(Refused::Early);
        }
        if until <= now {
            return Err(Refused::Expired);
        }
        Ok(Answer {
            status: single.status,
            since: single.since,
            until,
        })
    }
}

/// The BasicOCSPResponse in an OCSPResponse (RFC 6960, section 4.2.1).
fn basic(der: &[u8]) -> Result<&[u8], Refused> {
    let mut whole = Reader::new(der);
    let mut response = whole.enter(SEQUENCE)?;
    whole.end()?;
    match response.expect(ENUMERATED)?.contents {
        [0] => {}
        [1] => return Err(Refused::Unsuccessful("malformed request")),
        [2] => return Err(Refused::Unsuccessful("internal error")),
        [3] => return Err(Refused::Unsuccessful("try later")),
        [5] => return Err(Refused::Unsuccessful("the request has to be signed")),
        [6] => return Err(Refused::Unsuccessful("unauthorized")),
        _ => return Err(Refused::Malformed),
    }
    let mut bytes = response.enter(inside(0))?;
    response.end()?;
    let mut bytes = bytes.enter(SEQUENCE)?;
    if bytes.expect(OID)?.contents != BASIC {
        return Err(Refused::OtherKind);
    }
    let basic = bytes.expect(OCTET_STRING)?.contents;
    bytes.end()?;
    Ok(basic)
}

/// What is signed of an answer.
struct Data<'a> {
    responder: ResponderId<'a>,
    responses: Reader<'a>,
}

/// Who says so.
enum ResponderId<'a> {
    /// The whole Name.
    Name(&'a [u8]),
    /// SHA-1 of its key.
    Key(&'a [u8]),
}

impl ResponderId<'_> {
    fn is(&self, certificate: &X509Certificate<'_>) -> bool {
        match self {
            Self::Name(name) => *name == certificate.subject().as_raw(),
            Self::Key(hash) => *hash == key_hash(certificate),
        }
    }
}

/// What is said of one certificate.
struct Single {
    status: Status,
    since: SystemTime,
    until: Option<SystemTime>,
}

impl<'a> Data<'a> {
    fn read(mut data: Reader<'a>) -> Result<Self, Refused> {
        // There is but version 1, which is the default, and which some write all the same.
        if let Some(version) = data.optional(inside(0))? {
            let mut version = Reader::new(version.contents);
            if version.expect(INTEGER)?.contents != [0] {
                return Err(Refused::OtherKind);
            }
            version.end()?;
        }
        let responder = data.next()?;
        let id = match responder.tag {
            tag if tag == inside(1) => ResponderId::Name(responder.contents),
            tag if tag == inside(2) => {
                let mut key = Reader::new(responder.contents);
                ResponderId::Key(key.expect(OCTET_STRING)?.contents)
            }
            _ => return Err(Refused::Malformed),
        };
        time(data.expect(GENERALIZED_TIME)?.contents)?;
        let responses = data.enter(SEQUENCE)?;
        refuse_critical(data.optional(inside(1))?.map(|it| it.contents))?;
        data.end()?;
        Ok(Self {
            responder: id,
            responses,
        })
    }

    /// What is said of one certificate, if anything is.
    fn single(&self, id: &CertId) -> Result<Single, Refused> {
        let mut responses = self.responses;
        for _ in 0..ABOUT {
            if responses.is_empty() {
                break;
            }
            let mut response = responses.enter(SEQUENCE)?;
            if is_about(response.enter(SEQUENCE)?, id)? {
                return single(response);
            }
        }
        Err(Refused::Other)
    }
}

/// Whether a CertID is that of the certificate that was asked about.
fn is_about(mut named: Reader<'_>, id: &CertId) -> Result<bool, Malformed> {
    let mut algorithm = named.enter(SEQUENCE)?;
    let hash = algorithm.expect(OID)?.contents;
    // SHA-1 has no parameters, which is said by NULL or by nothing.
    if let Some(parameters) = algorithm.optional(NULL)? {
        Reader::new(parameters.contents).end()?;
    }
    algorithm.end()?;
    let name = named.expect(OCTET_STRING)?.contents;
    let key = named.expect(OCTET_STRING)?.contents;
    let serial = named.expect(INTEGER)?.contents;
    named.end()?;
    Ok(hash == SHA1 && name == id.name_hash && key == id.key_hash && *serial == *id.serial)
}

/// The rest of a SingleResponse.
fn single(mut rest: Reader<'_>) -> Result<Single, Refused> {
    let status = rest.next()?;
    let status = match status.tag {
        tag if tag == plain(0) && status.contents.is_empty() => Status::Good,
        tag if tag == inside(1) => {
            let mut revoked = Reader::new(status.contents);
            Status::Revoked(time(revoked.expect(GENERALIZED_TIME)?.contents)?)
        }
        tag if tag == plain(2) && status.contents.is_empty() => Status::Unknown,
        _ => return Err(Refused::Malformed),
    };
    let since = time(rest.expect(GENERALIZED_TIME)?.contents)?;
    let until = match rest.optional(inside(0))? {
        Some(until) => {
            let mut until = Reader::new(until.contents);
            Some(time(until.expect(GENERALIZED_TIME)?.contents)?)
        }
        None => None,
    };
    refuse_critical(rest.optional(inside(1))?.map(|it| it.contents))?;
    rest.end()?;
    Ok(Single {
        status,
        since,
        until,
    })
}

/// None of the extensions is one that has to be understood (RFC 6960, section 4.4): all that there
/// are may be ignored.
fn refuse_critical(extensions: Option<&[u8]>) -> Result<(), Refused> {
    let Some(extensions) = extensions else {
        return Ok(());
    };
    let mut extensions = Reader::new(extensions).enter(SEQUENCE)?;
    while !extensions.is_empty() {
        let mut extension = extensions.enter(SEQUENCE)?;
        extension.expect(OID)?;
        if let Some(critical) = extension.optional(BOOLEAN)?
            && critical.contents != [0]
        {
            return Err(Refused::Critical);
        }
    }
    Ok(())
}

/// Whether the issuer of the certificate has signed the answer, or somebody whom it has certified
/// to answer for it, at `now` (RFC 6960, section 4.2.2.2).
fn is_vouched_for(
    signed: &Signed<'_>,
    data: &Data<'_>,
    issuer: &X509Certificate<'_>,
    certificates: Option<&[u8]>,
    now: SystemTime,
) -> Result<bool, Refused> {
    if data.responder.is(issuer) && signed.is_by(issuer) {
        return Ok(true);
    }
    let Some(certificates) = certificates else {
        return Ok(false);
    };
    let mut certificates = Reader::new(certificates).enter(SEQUENCE)?;
    for _ in 0..DELEGATES {
        if certificates.is_empty() {
            break;
        }
        let der = certificates.expect(SEQUENCE)?.whole;
        let Ok((_, delegate)) = X509Certificate::from_der(der) else {
            continue;
        };
        if data.responder.is(&delegate)
            && may_answer(&delegate, now)
            && has_issued(issuer, der, &delegate)
            && signed.is_by(&delegate)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a certificate is one for who answers, and good now. Whether it is revoked in turn is not
/// asked: clients do not, either.
fn may_answer(delegate: &X509Certificate<'_>, now: SystemTime) -> bool {
    let answers = delegate
        .extended_key_usage()
        .is_ok_and(|usage| usage.is_some_and(|usage| usage.value.ocsp_signing));
    let signs = delegate
        .key_usage()
        .is_ok_and(|usage| usage.is_none_or(|usage| usage.value.digital_signature()));
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let is_good =
        ASN1Time::from_timestamp(now).is_ok_and(|now| delegate.validity().is_valid_at(now));
    answers && signs && is_good
}

/// A GeneralizedTime as DER and RFC 5280 have it, `YYYYMMDDHHMMSSZ`.
fn time(text: &[u8]) -> Result<SystemTime, Malformed> {
    let digits = text.strip_suffix(b"Z").ok_or(Malformed)?;
    if digits.len() != 14 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let number = |from: usize, to: usize| {
        let digits = digits[from..to].iter();
        digits.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let (year, month, day) = (number(0, 4), number(4, 6), number(6, 8));
    let (hour, minute, second) = (number(8, 10), number(10, 12), number(12, 14));
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_right = (1..=12).contains(&month)
        && (1..=days).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_right {
        return Err(Malformed);
    }
    // Days since 1970 of the Gregorian calendar, from years that begin with March.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let day = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let seconds = (day - 719_468) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = u64::try_from(seconds).map_err(|_| Malformed)?;
    Ok(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let seconds = |text: &str| {
            let time = time(text.as_bytes()).map(|time| time.duration_since(UNIX_EPOCH));
            time.map(|since| since.expect("after 1970").as_secs())
        };
        assert_eq!(seconds("19700101000000Z"), Ok(0));
        assert_eq!(seconds("20000229123456Z"), Ok(951_827_696));
        assert_eq!(seconds("20261123030201Z"), Ok(1_795_402_921));
        assert_eq!(seconds("99991231235959Z"), Ok(253_402_300_799));
        for wrong in [
            "",
            "Z",
            "20261123030201",
            "20261123030201.5Z",
            "20261323030201Z",
            "20260230030201Z",
            "21000229000000Z",
            "20261123240000Z",
            "2026112303020:Z",
            "19691231235959Z",
            "00000101000000Z",
            "20261123030201+0100",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
