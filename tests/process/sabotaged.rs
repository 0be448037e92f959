//! The processes of the tests with protections that can be switched off, for the canaries of the verification run.

#[path = "main.rs"]
mod process;

fn main() -> anyhow::Result<()> {
    process::main()
}
