//! The shim alone, for the tests: what the program does when it is executed as `keelson shim`.

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    runtime::shim::main(&arguments)
}
