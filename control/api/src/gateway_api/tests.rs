//! Gateway API's resources: whole ones, and ones that are refused.

mod refused;
mod whole;
