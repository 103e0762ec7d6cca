//! Tests of the sensors: parsers on text and garbage, fixture trees, and this machine's own /proc with real threads.

mod fake_host;
mod fakes;
mod live;
mod parsers;
mod perf;
mod stand_in;
mod topology;
