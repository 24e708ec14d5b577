pub(super) fn fingerprint<T: serde::de::DeserializeOwned>() -> u32 {
    1
}
