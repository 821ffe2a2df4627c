use super::*;

#[test]
fn the_command_line_is_consistent() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn bytes_are_plain_or_with_one_binary_unit() {
    assert_eq!(bytes("4096"), Ok(4096));
    assert_eq!(bytes("64K"), Ok(64 << 10));
    assert_eq!(bytes("3m"), Ok(3 << 20));
    assert_eq!(bytes("2G"), Ok(2 << 30));
    assert_eq!(bytes("1024G"), Ok(1 << 40));
    for wrong in ["", "0", "0M", "M", "-1", "1.5M", "1MM", "1KM", "1T", "1025G", "99999999999999999999", "17179869184G"] {
        assert!(bytes(wrong).is_err(), "{wrong}");
    }
}
