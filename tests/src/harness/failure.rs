//! Why a test failed, causes included: anything that `?` can take.

use std::error::Error;
use std::fmt;

/// What a test gives.
pub type Outcome = Result<(), Failure>;

/// The text of what went wrong.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// Not itself an `Error`, or this would collide with the conversion of a type into itself.
impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let message = error.to_string();
            // Many a library prints its cause in its own message as well.
            if !text.contains(&message) {
                text = format!("{text}: {message}");
            }
            cause = error.source();
        }
        Self(text)
    }
}
