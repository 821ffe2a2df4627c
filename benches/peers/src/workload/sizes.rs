//! How large the blocks are.

/// Sixteen sizes, each as likely as the others.
pub type Sizes = [usize; 16];

/// 64 bytes, always.
pub const FIXED: Sizes = [64; 16];

/// Small blocks mostly, up to a kibibyte.
pub const MIXED: Sizes = [16, 16, 24, 32, 32, 40, 48, 64, 64, 96, 128, 160, 256, 384, 512, 1024];

/// Eight sizes, up to a kibibyte.
pub const EIGHT: Sizes = [16, 32, 64, 96, 128, 256, 512, 1024, 16, 32, 64, 96, 128, 256, 512, 1024];

/// 4 to 64 KiB. NEST keeps its connections in blocks of 36,000 bytes.
pub const LARGE: Sizes =
    [4_096, 5_000, 6_144, 8_192, 10_000, 12_288, 16_384, 20_000, 24_576, 32_768, 36_000, 36_000, 36_000, 40_000, 49_152, 65_536];
