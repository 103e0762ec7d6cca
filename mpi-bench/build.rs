//! Compiles the one C file: MPI constants that are macros with casts, which bindgen cannot read. Names the compiler and the
//! MPI library's launcher to the program and its tests.
//! It looks for the MPI library the way the `mpi` crate does (MPICC, then mpicc, then pkg-config), so both see the same.

fn main() -> Result<(), String> {
    println!("cargo:rerun-if-changed=csrc/constants.c");
    println!("cargo:rerun-if-env-changed=MPICC");
    let library = build_probe_mpi::probe().map_err(|errors| {
        let reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
        format!("no MPI library found (set MPICC, or install one): {}", reasons.join("; "))
    })?;
    // The launcher that belongs to the compiler: mpicc.mpich goes with mpirun.mpich. The tests start ranks with it.
    let mpicc = library.mpicc.clone().unwrap_or_else(|| "mpicc".to_owned());
    println!("cargo:rustc-env=TRIMTAB_MPIRUN={}", mpicc.replacen("mpicc", "mpirun", 1));
    // For the JSON's meta data: which compiler made the program that measured.
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version =
        std::process::Command::new(rustc).arg("--version").output().map_err(|e| format!("rustc: {e}"))?;
    println!("cargo:rustc-env=TRIMTAB_RUSTC={}", String::from_utf8_lossy(&version.stdout).trim());
    let mut build = cc::Build::new();
    build.file("csrc/constants.c");
    match library.mpicc {
        Some(mpicc) => {
            build.compiler(mpicc);
        }
        None => {
            build.includes(&library.include_paths);
        }
    }
    build.compile("trimtab_mpi_constants");
    Ok(())
}
