//! Tables: situations written out by hand and what the identification, the recipes and the model make of each.
#![expect(clippy::unwrap_used, reason = "a table may panic: that is how a test fails")]

mod identify;
mod load;
mod model;
mod placing;
mod priority;
mod setting;
