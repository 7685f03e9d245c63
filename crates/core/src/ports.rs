//! The ports that the mesh owns in a pod's namespace (wire facts §1b).

/// Captured outbound connections.
pub const OUTBOUND: u16 = 15001;
/// Captured inbound connections that came outside a tunnel.
pub const INBOUND_PLAIN: u16 = 15006;
/// The tunnel, HBONE and Weft's own dialect.
pub const TUNNEL: u16 = 15008;
/// Captured DNS.
pub const DNS: u16 = 15053;

/// True for a port that nobody may ask for through the mesh: the proxy would dial itself.
pub const fn is_mesh_port(port: u16) -> bool {
    matches!(port, OUTBOUND | INBOUND_PLAIN | TUNNEL | DNS)
}
