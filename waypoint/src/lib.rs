//! The waypoint: what a namespace, a service account or a service needs of HTTP. Node proxies bring it the connections of
//! clients through tunnels; it reads their requests, decides by routes and policy, and brings each to a backend through
//! tunnels of its own. It holds no privilege. Modules stand from the top layer to the bottom; imports point down the list.
#![forbid(unsafe_code)]

pub mod app;
mod admin;
mod names;
mod run;
mod inbound;
mod connection;
mod serving;
mod tcp;
mod answer;
pub mod vet;
mod forward;
mod tries;
mod mirror;
mod decide;
mod way;
mod worker;
mod open;
mod telemetry;
mod trace;
mod export;
mod targets;
mod target;
mod commons;
mod outliers;
mod standing;
mod shed;
mod head;
mod lines;
mod dial;
mod tunnels;
mod outside;
mod endpoints;
mod origin;
mod executor;
mod body;
mod gate;
mod attended;
pub mod strict;
mod frames;
mod framing;
mod rewind;
mod io;
mod client;
mod streams;
mod ending;
mod dice;
mod dynamic;
mod answers;
mod lookup;
pub mod knowledge;
pub mod config;
