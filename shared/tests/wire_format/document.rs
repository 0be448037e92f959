//! `docs/wire-format.md` as text with named blocks: a fence of ```` ```json Name ```` holds one value, one
//! of ```` ```jsonl Name ```` holds a value a line.

use std::path::{Path, PathBuf};

use crate::examples::Example;
use crate::layout::{line, pretty};

/// The document.
pub(crate) struct Document {
    path: PathBuf,
    pub(crate) text: String,
}

/// One example in it.
pub(crate) struct Block {
    pub(crate) name: String,
    /// Line number of the opening fence, from 1.
    pub(crate) line: usize,
    many: bool,
    body: String,
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

impl Document {
    pub(crate) fn read() -> Self {
        let path = root().join("docs/wire-format.md");
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    pub(crate) fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let lines: Vec<&str> = self.text.lines().collect();
        let fences: Vec<(usize, Fence)> =
            lines.iter().enumerate().filter_map(|(at, line)| Some((at, fence(line)?))).collect();
        fences.into_iter().map(move |(at, fence)| {
            let body: Vec<&str> =
                lines[at + 1..].iter().take_while(|line| **line != "```").copied().collect();
            Block { name: fence.name, line: at + 1, many: fence.many, body: body.join("\n") }
        })
    }

    /// The document with every block filled from the example of its name.
    pub(crate) fn filled(&self, examples: &[Example]) -> String {
        let mut text = String::new();
        let mut inside = false;
        for line in self.text.lines() {
            if inside && line != "```" {
                continue;
            }
            inside = false;
            text += line;
            text += "\n";
            if let Some(fence) = fence(line)
                && let Some(example) = examples.iter().find(|example| example.name == fence.name)
            {
                inside = true;
                text += &shown(example, fence.many);
            }
        }
        text
    }

    /// The table rows between the headings around a block.
    pub(crate) fn rows_near(&self, block: &Block) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let heading = |line: &&str| line.starts_with('#');
        let begin = lines[..block.line].iter().rposition(heading).unwrap_or(0);
        let end = lines[block.line..].iter().position(heading).map_or(lines.len(), |at| block.line + at);
        lines[begin..end].iter().filter(|line| line.starts_with('|')).copied().collect()
    }
}

impl Block {
    pub(crate) fn values(&self) -> Vec<String> {
        if self.many { self.body.lines().map(str::to_owned).collect() } else { vec![self.body.clone()] }
    }
}

struct Fence {
    name: String,
    many: bool,
}

fn fence(line: &str) -> Option<Fence> {
    let (many, name) = match (line.strip_prefix("```json "), line.strip_prefix("```jsonl ")) {
        (Some(name), _) => (false, name),
        (None, Some(name)) => (true, name),
        (None, None) => return None,
    };
    Some(Fence { name: name.to_owned(), many })
}

fn shown(example: &Example, many: bool) -> String {
    if many {
        example.values.iter().map(|value| line(value) + "\n").collect()
    } else {
        assert_eq!(example.values.len(), 1, "{} has several values: use ```jsonl", example.name);
        pretty(&example.values[0]) + "\n"
    }
}
