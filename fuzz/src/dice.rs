//! Decisions drawn from the input of a target, so that what is changed in the bytes changes one decision.
//! When the bytes are used up every decision is the first one, so everything ends.

/// Numbers at which arithmetic tends to break.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    1_000,
    65_535,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    stepwell_shared::limits::MAX_DURATION_MS,
    stepwell_shared::limits::MAX_DURATION_MS + 1,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

pub(crate) struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether nothing more is decided.
    pub(crate) fn over(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `most`, which is at least 1.
    pub(crate) fn below(&mut self, most: u8) -> u8 {
        self.byte() % most.max(1)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// One time in `of`.
    pub(crate) fn seldom(&mut self, of: u8) -> bool {
        self.below(of) == of - 1
    }

    /// A small number mostly, one of the edges now and then.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=199 => u64::from(byte),
            byte @ 200..=229 => u64::from(byte - 199) * 1_000,
            byte @ 230..=255 => EDGES[usize::from(byte) % EDGES.len()],
        }
    }

    /// A number of a step, mostly a small one.
    pub(crate) fn seq(&mut self) -> u32 {
        match self.byte() {
            byte @ 0..=251 => u32::from(byte % 9),
            252 => 100,
            253..=254 => u32::MAX - 1,
            255 => u32::MAX,
        }
    }

    pub(crate) fn optional<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.flag().then(|| draw(self))
    }
}
