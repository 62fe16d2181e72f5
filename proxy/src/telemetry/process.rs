//! What the system says of the process, under the names that Prometheus's own libraries have for it.

use std::fs;

use super::exposition::Exposition;

/// Parts of a second that the kernel counts time of processors in; it says so to every program (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Writes it. What the system does not say is left out.
pub fn write_process(started_unix_ms: u64, exposition: &mut Exposition) {
    exposition
        .gauge("process_start_time_seconds", "When the process started, in seconds since 1970.")
        .sample(&[], started_unix_ms as f64 / 1_000.0);
    let page_bytes = rustix::param::page_size() as u64;
    if let Some(known) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(known) {
        exposition
            .counter("process_cpu_seconds_total", "Time of processors that the process has used.")
            .sample(&[], known.cpu_ticks as f64 / TICKS);
        exposition
            .gauge("process_virtual_memory_bytes", "Address space of the process.")
            .sample(&[], known.virtual_bytes);
        exposition
            .gauge("process_resident_memory_bytes", "Memory of the process: its resident set.")
            .sample(&[], known.resident_pages * page_bytes);
        exposition.gauge("process_threads", "Threads of the process.").sample(&[], known.threads);
    }
    if let Some(open) = open_files() {
        exposition.gauge("process_open_fds", "Open files and sockets.").sample(&[], open);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    exposition
        .gauge("process_max_fds", "Files and sockets that may be open.")
        .sample(&[], limit.map_or(f64::INFINITY, |limit| limit as f64));
}

/// Newer kernels say how many there are by the size of the folder; to list thousands would take milliseconds.
fn open_files() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64),
        open => Some(open),
    }
}

struct Known {
    cpu_ticks: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// Reads the line of proc_pid_stat(5). The name of the program is in brackets, and may have any characters.
fn known(line: &str) -> Option<Known> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<u64> = rest.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    // The first of these is the fourth of the line.
    let field = |number: usize| fields.get(number - 4).copied();
    Some(Known {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        virtual_bytes: field(23)?,
        resident_pages: field(24)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read_by_its_fields() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 12345 104857600 2048 \
                    18446744073709551615 1 1 0";
        let known = known(line).unwrap();
        assert_eq!((known.cpu_ticks, known.threads), (300, 3));
        assert_eq!((known.virtual_bytes, known.resident_pages), (104_857_600, 2_048));
    }

    #[test]
    fn this_process_is_told_of() {
        let mut exposition = Exposition::new();
        write_process(1_500, &mut exposition);
        let page = exposition.finish();
        assert!(page.contains("process_start_time_seconds 1.5\n"), "{page}");
        for name in ["process_resident_memory_bytes ", "process_open_fds ", "process_max_fds "] {
            let line = page.lines().find(|line| line.starts_with(name)).expect(name);
            assert!(!line.ends_with(" 0"), "{line}");
        }
    }
}
