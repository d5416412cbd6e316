//! One way for the newtypes to be serialized: as the string they display and
//! parse.

/// Implements serde's two traits over `Display` and `FromStr`.
macro_rules! serde_as_string {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text =
                    <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use serde_as_string;

#[cfg(test)]
mod tests {
    use std::fmt;

    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, StrDeserializer};
    use serde::{Deserialize, Serialize};

    use crate::{Digest, FilePath, MediaType, Name, Repository, Tag, TreeHash, VerifierKey};

    /// Writes what a serializer is given.
    struct Serialized<'a, T>(&'a T);

    impl<T: Serialize> fmt::Display for Serialized<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.serialize(f)
        }
    }

    fn check<T: Serialize + for<'de> Deserialize<'de>>(good: &str, bad: &str) {
        let from = |text: &str| -> Result<T, Error> {
            let deserializer: StrDeserializer<'_, Error> = text.into_deserializer();
            T::deserialize(deserializer)
        };
        assert_eq!(Serialized(&from(good).unwrap()).to_string(), good);
        assert!(from(bad).is_err(), "{bad}");
    }

    #[test]
    fn values_are_serialized_as_their_text_and_checked_when_read() {
        let digest = Digest::of(b"").to_string();
        check::<Digest>(&digest, &digest.to_uppercase());
        check::<Repository>("a/b", "A");
        check::<Tag>("v1", "-v1");
        check::<FilePath>("a/b", "../b");
        check::<Name>("a/b:v1", "a//b");
        check::<Name>(&format!("a/b@{digest}"), "");
        check::<MediaType>("a/b", "a");
        check::<TreeHash>(&("A".repeat(43) + "="), "AA==");
        let key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        check::<VerifierKey>(key, &key.replace("foo", "bar"));
    }
}
