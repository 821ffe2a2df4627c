use super::{faults_of, field};

#[test]
fn page_faults_are_the_tenth_field_whatever_the_name() {
    let stat = "4711 (a ) b) R 1 4711 4711 0 -1 4194304 1234 0 0 0 5 6";
    assert_eq!(faults_of(stat), Some(1234));
    assert_eq!(faults_of("4711"), None);
}

#[test]
fn a_field_is_read_in_bytes() {
    assert_eq!(field("VmPeak:\t 9 kB\nVmHWM:\t    1234 kB\n", "VmHWM:"), Some(1234 * 1024));
    assert_eq!(field("VmHWM: many\n", "VmHWM:"), None);
    assert_eq!(field("", "VmHWM:"), None);
}
