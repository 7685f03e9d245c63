//! Takes facts in and marks what has to be computed anew, by the reverse indexes.

mod backends;
mod entries;
mod places;
mod rules;
mod telemetries;
mod waypoints;
