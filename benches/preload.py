#!/usr/bin/env python3
"""Programs that are not changed, under several allocators: each is put in front of malloc by LD_PRELOAD, engram as examples/c/malloc.c.

    cargo build --release
    python3 -m venv target/preload
    target/preload/bin/pip install "numpy<2" nest-simulator==3.10.0 neuron==9.0.2
    apt-get install libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4
    target/preload/bin/python benches/preload.py [--rounds N] [NAME=LIBRARY ...]

Without a LIBRARY named, those of the Debian packages are taken that are installed. The allocators take turns, another one first in each
round. Told are processor time (user and system) and the peak of resident memory, both of the whole process: medians, and of times the
quartiles. A program that is not installed is left out, which is told.
"""
import argparse
import glob
import os
import random
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGED = {"mimalloc 2": "libmimalloc.so.2", "jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}


def nest():
    """A balanced network of 5,000 neurons and 2.5 million synapses, on two threads."""
    import nest

    nest.set_verbosity("M_ERROR")
    nest.local_num_threads = 2
    neuron = dict(V_th=20.0, tau_m=20.0, C_m=1.0, t_ref=2.0, E_L=0.0, V_m=0.0, V_reset=10.0)
    excitatory = nest.Create("iaf_psc_delta", 4000, neuron)
    inhibitory = nest.Create("iaf_psc_delta", 1000, neuron)
    noise = nest.Create("poisson_generator", params={"rate": 20000.0})
    recorder = nest.Create("spike_recorder")
    excites, inhibits = {"weight": 0.1, "delay": 1.5}, {"weight": -0.5, "delay": 1.5}
    nest.Connect(noise, excitatory + inhibitory, syn_spec=excites)
    nest.Connect(excitatory, excitatory + inhibitory, {"rule": "fixed_indegree", "indegree": 400}, excites)
    nest.Connect(inhibitory, excitatory + inhibitory, {"rule": "fixed_indegree", "indegree": 100}, inhibits)
    nest.Connect(excitatory[:50], recorder)
    nest.Simulate(200.0)
    return recorder.n_events


def neuron():
    """1,500 cells that integrate and fire, 60,000 connections, and 60 sections with Hodgkin and Huxley's channels."""
    from neuron import h

    draw = random.Random(1)
    h.load_file("stdrun.hoc")
    cells = [h.IntFire2() for _ in range(1500)]
    connections = [h.NetCon(draw.choice(cells), draw.choice(cells)) for _ in range(60000)]
    for connection in connections:
        connection.weight[0], connection.delay = 0.001, 1 + 4 * draw.random()
    drive = h.NetStim()
    drive.interval, drive.number, drive.start = 1, 1e9, 0
    driven = [h.NetCon(drive, cell) for cell in cells[:200]]
    for connection in driven:
        connection.weight[0] = 0.5
    sections = [h.Section(name=f"section{number}") for number in range(60)]
    for section in sections:
        section.nseg = 11
        section.insert("hh")
    h.finitialize(-65)
    h.continuerun(100)
    return h.t


def json():
    """Lists of objects to text and back, every object of the interpreter's a block of malloc's."""
    import json

    objects = [{str(number): [number] * 5, "a": "x" * (number % 50)} for number in range(60000)]
    for _ in range(6):
        objects = json.loads(json.dumps(objects))
    return len(objects)


def compiler():
    """A C++ file that uses containers, streams and regular expressions, compiled."""
    text = "#include <map>\n#include <regex>\n#include <iostream>\n#include <string>\nint main() { std::map<std::string, int> all; "
    text += 'for (std::string s; std::cin >> s;) if (std::regex_match(s, std::regex("a*b"))) all[s]++; return all.size(); }\n'
    compile_it = ["c++", "-O2", "-x", "c++", "-c", "-", "-o", os.devnull]
    return subprocess.run(compile_it, input=text, text=True, check=True).returncode


PROGRAMS = {"NEST 3.10, Brunel's network": nest, "NEURON 9, a net": neuron, "Python, JSON": json, "g++ -O2": compiler}


def preloaded(named):
    """The libraries to compare, by name; the system's malloc is none."""
    library = ROOT / "target" / "libengram_malloc.so"
    compile_it = ["cc", "-std=c11", "-O2", "-fPIC", "-shared", "examples/c/malloc.c", "-Iinclude", "target/release/libengram.a"]
    compile_it += ["-lpthread", "-ldl", "-lm", "-Wl,--exclude-libs,ALL", "-o", library]
    subprocess.run(compile_it, cwd=ROOT, check=True)
    libraries = {"engram": str(library), "system": ""}
    if not named:
        for name, file in PACKAGED.items():
            found = glob.glob(f"/usr/lib/*/{file}")
            if found:
                libraries[name] = found[0]
            else:
                print(f"{name}: {file} is not installed", file=sys.stderr)
    for word in named:
        name, equals, file = word.partition("=")
        if not equals or not os.path.exists(file):
            sys.exit(f"{word!r} is not NAME=LIBRARY with a library that is there")
        libraries[name] = os.path.abspath(file)
    return libraries


def measure(program, library):
    """Seconds of processor time and bytes resident at the peak; None if the program cannot run."""
    environment = dict(os.environ, PYTHONMALLOC="malloc", LD_PRELOAD=library)
    out = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
    command = [sys.executable, __file__, "--run", program]
    child = os.posix_spawn(sys.executable, command, environment, file_actions=out)
    _, status, used = os.wait4(child, 0)
    return None if status else (used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="9 by default, after one that is thrown away")
    parser.add_argument("--run", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("library", nargs="*", metavar="NAME=LIBRARY")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error(f"--rounds is {options.rounds}; it must be 2 or more")
    if options.run:
        PROGRAMS[options.run]()
        return

    libraries = preloaded(options.library)
    names = list(libraries)
    print("| seconds of processor time [quartiles], MiB at the peak |", " | ".join(names), "| engram / best peer |")
    print("|---|" + "---:|" * (len(names) + 1))
    for program in PROGRAMS:
        taken = {name: [] for name in names}
        for round in range(options.rounds + 1):
            turn = round % len(names)
            for name in names[turn:] + names[:turn]:
                taken[name].append(measure(program, libraries[name]))
        if None in sum(taken.values(), []):
            print(f"{program}: it cannot run", file=sys.stderr)
            continue
        cells, medians = [], {}
        for name in names:
            times, peaks = zip(*taken[name][1:])
            low, middle, high = statistics.quantiles(times, n=4)
            medians[name] = middle
            cells.append(f"{middle:.2f} [{low:.2f} {high:.2f}], {statistics.median(peaks) / 2**20:.0f}")
        peer = min((name for name in names if name != "engram"), key=medians.get)
        print(f"| {program} |", " | ".join(cells), f"| {medians['engram'] / medians[peer]:.2f} {peer} |", flush=True)


if __name__ == "__main__":
    main()
