//! Tests of the sensors: parsers on text and garbage, fixture trees, and this machine's own /proc with real threads.

mod live;
mod parsers;
mod stand_in;
