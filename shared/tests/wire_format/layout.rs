//! JSON for readers: small things on one line, large ones spread out. The order of fields is the types'.

/// Longest line before an object or array is spread out.
const WIDTH: usize = 100;

/// On one line, with spaces after commas and colons.
pub(crate) fn line(json: &str) -> String {
    let mut out = String::new();
    let mut in_text = false;
    let mut escaped = false;
    for c in json.chars() {
        out.push(c);
        if in_text {
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_text = true;
        } else if c == ',' || c == ':' {
            out.push(' ');
        }
    }
    out
}

/// On as many lines as it needs.
pub(crate) fn pretty(json: &str) -> String {
    let mut out = String::new();
    spread(json, 0, &mut out);
    out
}

fn spread(json: &str, indent: usize, out: &mut String) {
    let short = line(json);
    let (Some(open), true) = (json.chars().next(), indent + short.len() > WIDTH) else {
        out.push_str(&short);
        return;
    };
    if open != '{' && open != '[' {
        out.push_str(&short);
        return;
    }
    out.push(open);
    for (at, part) in parts(&json[1..json.len() - 1]).into_iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        out.push_str(&" ".repeat(indent + 2));
        match key_length(part).filter(|_| open == '{') {
            Some(key) => {
                out.push_str(&part[..key]);
                out.push_str(": ");
                spread(&part[key + 1..], indent + 2, out);
            }
            None => spread(part, indent + 2, out),
        }
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push(if open == '{' { '}' } else { ']' });
}

/// The members of an object or array, split at its own commas.
fn parts(inside: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth, mut in_text, mut escaped) = (Vec::new(), 0, 0, false, false);
    for (at, c) in inside.char_indices() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => in_text = true,
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inside[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[begin..]);
    parts
}

/// Length of the quoted key at the beginning of a member.
fn key_length(part: &str) -> Option<usize> {
    part.starts_with('"').then(|| part[1..].find("\":").map(|at| at + 2)).flatten()
}
