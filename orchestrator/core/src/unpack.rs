//! From a pack of reports to the reports in it, each with the subject under which it would be stored alone. What a report
//! says is read by [`crate::decode_event`]. Never fails in any other way, whatever the bytes.

use std::ops::Range;

use stepwell_shared::error_code::ErrorCode;
use stepwell_shared::headers::PACK;
use stepwell_shared::pack::PackIndex;
use stepwell_shared::packed_report::split;
use stepwell_shared::partition::partition_of_token;
use stepwell_shared::subject::parse_stored_event;

use crate::decode::Refusal;

/// How much of what makes no sense is quoted.
const MAX_QUOTED: usize = 200;

/// A report in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedReport {
    /// Which one of the pack, from 0, in the order in which they lie there.
    pub place: usize,
    /// The subject under which it would be stored alone, or why it cannot be taken in.
    pub subject: Result<String, Refusal>,
    /// Where in the message its body is; everything of it where it cannot be taken in.
    pub body: Range<usize>,
}

/// Whether a stored event is a pack of reports.
#[must_use]
pub fn is_pack(subject: &str) -> bool {
    subject.ends_with(".activity.-.pack")
}

/// Reads a pack that is stored under `subject`, in a namespace of so many partitions. `header` is the value of
/// [`PACK`]. There is at least one report in it, and at most [`stepwell_shared::limits::MAX_PACK`].
///
/// # Errors
/// [`Refusal`] with the code under which the whole message is set aside.
pub fn unpack(
    subject: &str,
    header: Option<&str>,
    body: &[u8],
    partitions: u32,
) -> Result<Vec<PackedReport>, Refusal> {
    let header = header.unwrap_or_default();
    let index = PackIndex::parse(header, body.len()).ok_or_else(|| Refusal {
        code: ErrorCode::MalformedBody,
        message: format!(
            "the header {PACK} does not fit to the {} bytes of the pack: {:?}",
            body.len(),
            quoted(header)
        ),
    })?;
    let prefix_end = subject.match_indices('.').nth(3).map_or(subject.len(), |(at, _)| at);
    let prefix = &subject[..prefix_end];
    let partition = prefix.rsplit('.').next().unwrap_or_default();
    let reports = index.bodies().enumerate().map(|(place, (_, range))| {
        match alone(prefix, partition, &body[range.clone()], partitions) {
            Ok((subject, at)) => {
                PackedReport { place, subject: Ok(subject), body: range.start + at..range.end }
            }
            Err(refusal) => PackedReport { place, subject: Err(refusal), body: range },
        }
    });
    Ok(reports.collect())
}

/// The subject of the report alone, and how many bytes precede it. `prefix` are the tokens of the pack's subject before
/// its workflow id, the last of which is `partition`.
fn alone(prefix: &str, partition: &str, joined: &[u8], partitions: u32) -> Result<(String, usize), Refusal> {
    let malformed = |message: String| Refusal { code: ErrorCode::MalformedBody, message };
    let (end, at) = split(joined).ok_or_else(|| {
        let found = String::from_utf8_lossy(joined);
        malformed(format!(
            "a report in a pack begins with <id>.activity.<run>.<step> and a line feed: {:?}",
            quoted(&found)
        ))
    })?;
    let subject = [prefix, ".", end].concat();
    // Whether its tokens are what they must be is seen when the report is read.
    let id = match end.split('.').collect::<Vec<_>>()[..] {
        [id, "activity", run, step] if (run, step) != ("-", "pack") => id,
        _ => {
            return Err(match parse_stored_event(&subject) {
                Err(error) => Refusal { code: error.code, message: error.to_string() },
                Ok(_) => malformed(format!("only reports go in packs, and this is none: {:?}", quoted(end))),
            });
        }
    };
    let right = partition_of_token(id, partitions);
    if partition.parse() != Ok(right) {
        return Err(malformed(format!(
            "workflow `{}` is of partition {right} and its report lies in a pack of partition {partition}; only \
             reports of tasks with the same `partition` go together",
            quoted(id)
        )));
    }
    Ok((subject, at))
}

fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}

#[cfg(test)]
mod tests {
    use stepwell_shared::ids::{Namespace, RunId, StepId, WorkflowId};
    use stepwell_shared::packed_report::join;
    use stepwell_shared::subject;

    use super::*;

    const PARTITIONS: u32 = 4;

    fn end(id: &str) -> (String, u32) {
        let id = WorkflowId::new(id).unwrap();
        let end = subject::report_end(&id, &RunId::new("r").unwrap(), StepId::Action(7));
        (end, subject::partition(&id, PARTITIONS))
    }

    fn packed(parts: &[Vec<u8>]) -> (String, Vec<u8>) {
        let mut index = PackIndex::default();
        parts.iter().enumerate().for_each(|(place, part)| index.push(place, part.len()));
        (index.header(), parts.concat())
    }

    #[test]
    fn each_report_has_the_subject_that_it_would_have_alone() {
        let ((one, partition), all) =
            (end("one"), ["two", "three", "four 4", "five", "six", "seven"].map(end));
        let (other, _) =
            all.iter().find(|(_, other)| *other == partition).expect("one of the same partition");
        let (stranger, _) =
            all.iter().find(|(_, other)| *other != partition).expect("one of another partition");
        let parts = [
            join(&one, b"{1}"),
            join(stranger, b"{2}"),
            b"{3}".to_vec(),
            join(&one.replace("activity", "x"), b""),
            join(&one.replace(".r.7", ".-.pack"), b""),
            join(other, b""),
        ];
        let (header, body) = packed(&parts);
        let pack = subject::stored_event(&Namespace::default(), partition, "one.activity.-.pack");
        assert!(is_pack(&pack));
        let reports = unpack(&pack, Some(&header), &body, PARTITIONS).unwrap();
        let places: Vec<usize> = reports.iter().map(|report| report.place).collect();
        assert_eq!(places, [0, 1, 2, 3, 4, 5]);
        let prefix = format!("stepwell.default.event.{partition}");
        for (place, end, text) in [(0, &one, "{1}"), (5, other, "")] {
            assert_eq!(reports[place].subject, Ok(format!("{prefix}.{end}")));
            assert_eq!(&body[reports[place].body.clone()], text.as_bytes());
        }
        for (place, code) in [
            (1, ErrorCode::MalformedBody),
            (2, ErrorCode::MalformedBody),
            (3, ErrorCode::MalformedSubject),
            (4, ErrorCode::MalformedBody),
        ] {
            assert_eq!(reports[place].subject.as_ref().unwrap_err().code, code, "{place}");
            assert_eq!(body[reports[place].body.clone()], parts[place]);
        }
    }

    #[test]
    fn a_pack_without_an_index_that_fits_is_refused_as_a_whole() {
        for header in [None, Some(""), Some("0:4"), Some("x")] {
            let refusal =
                unpack("stepwell.default.event.0.a.activity.-.pack", header, b"abc", 1).unwrap_err();
            assert_eq!(refusal.code, ErrorCode::MalformedBody);
        }
    }
}
