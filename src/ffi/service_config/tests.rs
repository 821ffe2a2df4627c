use super::*;

/// Seen with: a field that is left at its default.
#[test]
fn what_a_config_says_is_what_the_service_is_opened_with() {
    let given = engram_service_config {
        columns: 3,
        capacity: 5 << 20,
        cache_entries: 7,
        cache_ttl_ms: 11,
        max_concurrent: 13,
        admission_timeout_ms: 17,
        guidance: 0,
        seed: 19,
        ..engram_service_config::default_config()
    };
    // SAFETY: no pool and no path.
    let config = unsafe { given.config() }.unwrap();
    assert_eq!((config.columns, config.capacity_bytes, config.seed, config.guidance), (3, 5 << 20, 19, false));
    assert_eq!((config.allocation_cache_size, config.max_concurrent_allocations), (7, 13));
    assert_eq!([config.allocation_cache_ttl, config.admission_timeout], [11, 17].map(Duration::from_millis));
    assert!(config.path.is_none() && config.pool_configurations.iter().all(|pool| pool.quota_bytes == 5 << 20));
    let default = AllocationServiceConfig::default();
    // SAFETY: as above.
    let config = unsafe { engram_service_config::default_config().config() }.unwrap();
    assert_eq!(config, default);
}
