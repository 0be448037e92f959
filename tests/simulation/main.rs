//! The seeded simulation.

use stepwell_tests::simulation::{Sabotage, Stats, run_seed};

#[test]
fn seeds() {
    let mut sum = Stats::default();
    let count = std::env::var("STEPWELL_SIM_SEEDS").ok().and_then(|it| it.parse().ok()).unwrap_or(200);
    let begin = std::env::var("STEPWELL_SIM_SEED").ok().and_then(|it| it.parse().ok());
    let range = match begin {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    };
    let mut failed = 0;
    for seed in range {
        eprintln!("seed {seed}");
        match run_seed(seed, Sabotage::None) {
            Ok(stats) => sum.add(&stats),
            Err(failure) => {
                failed += 1;
                eprintln!("seed {seed}: {:#?}", failure.reasons);
                if begin.is_some() {
                    eprintln!("{}", failure.trace);
                }
            }
        }
    }
    eprintln!("{sum:#?}");
    assert_eq!(failed, 0);
}
