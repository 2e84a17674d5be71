mod diagnostic; mod limits; mod yaml; pub use limits::Limits; pub use diagnostic::*;
