"""Writers of the files that the readers of `spiketrain.data` read, in their true byte layouts."""

import struct

import numpy as np


def write_hdf5(path, trials, labels, *, speakers=None, keys=None, dtype=np.float16):
    """Write trials, each `(seconds, units)`, in the layout of the Spiking Heidelberg Digits."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, column, kind in (("times", 0, dtype), ("units", 1, np.uint16)):
            array = file.create_dataset(f"spikes/{name}", (len(trials),), h5py.vlen_dtype(kind))
            for i, trial in enumerate(trials):
                array[i] = np.asarray(trial[column], kind)
        file["labels"] = np.asarray(labels, np.uint16)
        if speakers is not None:
            file["extra/speaker"] = np.asarray(speakers, np.uint16)
        if keys is not None:
            file["extra/keys"] = np.array([key.encode() for key in keys])


def bin_bytes(times, x, y, p):
    """Return a recording of N-MNIST: 40 bits per event, and one in row 240 for every 2^13 us beyond 23 bits."""
    content, overflows = b"", 0
    for t, column, row, polarity in zip(times, x, y, p, strict=True):
        while t - overflows * 2**13 >= 2**23:
            content += bytes([0, 240, 0, 0, 0])
            overflows += 1
        word = int(polarity) << 23 | int(t) - overflows * 2**13
        content += bytes([column, row]) + word.to_bytes(3, "big")
    return content


def aedat2_bytes(times, x, y, p, signals=()):
    """Return a recording of the DVS128, with a signal from outside before the events at `signals`."""
    content = b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n# created by a test\r\n"
    for i, (t, column, row, polarity) in enumerate(zip(times, x, y, p, strict=True)):
        if i in signals:
            content += struct.pack(">II", 0x8000, int(t))
        address = int(row) << 8 | 127 - int(column) << 1 | 1 - int(polarity)
        content += struct.pack(">II", address, int(t) % 2**32)
    return content


def aedat3_packet(kind, events, overflow=0, size=8):
    """Return a packet of version 3.1, with its header of 28 bytes."""
    number = len(events) // size
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflow, number, number, number) + events


def aedat3_bytes(times, x, y, p, per_packet=3, invalid=()):
    """Return a recording of version 3.1, in packets of some events, packets of another kind between them."""
    content = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2015-01-01\r\n#!END-HEADER\r\n"
    i = 0
    while i < len(times):
        overflow, events = int(times[i]) >> 31, b""
        while i < len(times) and len(events) < 8 * per_packet and int(times[i]) >> 31 == overflow:
            data = int(x[i]) << 17 | int(y[i]) << 2 | int(p[i]) << 1 | (i not in invalid)
            events += struct.pack("<Ii", data, int(times[i]) & 0x7FFFFFFF)
            i += 1
        content += aedat3_packet(1, events, overflow) + aedat3_packet(0, b"\x01\x00\x00\x00\x07\x00\x00\x00")
        content += aedat3_packet(3, bytes(36), size=36)
    return content


def dat_bytes(times, x, y, p, version=2, size=(240, 304)):
    """Return a recording of a Prophesee camera; version 0 has no header at all."""
    content = b""
    if version:
        content += b"% Data file containing CD events.\n% Version " + str(version).encode() + b"\n"
        content += f"% Height {size[0]}\n% Width {size[1]}\n".encode() * (version >= 2) + bytes([0x0C, 8])
    row, polarity = (14, 28) if version >= 2 else (9, 17)
    for t, column, line, up in zip(times, x, y, p, strict=True):
        content += struct.pack("<II", int(t), int(up) << polarity | int(line) << row | int(column))
    return content


def write_gesture(folder, users=(1, 24), seed=0):
    """Write a data set in the layout of DVS128 Gesture, one training and one test user, and return its counts."""
    rng, counts = np.random.default_rng(seed), {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, user in zip(("trials_to_train.txt", "trials_to_test.txt"), users, strict=True):
        stem, n = f"user{user:02}_led", 240
        times = np.sort(rng.integers(0, 1_200_000, n)) + 2**31 - 600_000  # the clock of 31 bits overflows midway
        x, y, p = rng.integers(0, 128, n), rng.integers(0, 128, n), rng.integers(0, 2, n)
        (folder / f"{stem}.aedat").write_bytes(aedat3_bytes(times, x, y, p, per_packet=50))
        windows = [(k + 1, 2**31 - 600_000 + k * 100_000, 2**31 - 600_000 + k * 100_000 + 90_000) for k in range(11)]
        lines = ["class,startTime_usec,endTime_usec", *(",".join(map(str, window)) for window in windows)]
        (folder / f"{stem}_labels.csv").write_text("\n".join(lines) + "\n")
        (folder / name).write_text(f"{stem}.aedat\n")
        counts[name] = [int(((times >= start) & (times < end)).sum()) for _, start, end in windows]
    return counts


def write_heidelberg(folder, names, classes):
    """Write files in the layout of the Spiking Heidelberg data sets: one recording of 500 spikes of every class in each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in names:
        trials = [(np.sort(rng.uniform(0, 0.3, 500)), rng.integers(0, 700, 500)) for _ in range(classes)]
        keys = [f"word {k}" for k in range(classes)]
        write_hdf5(folder / f"{name}.h5", trials, np.arange(classes), speakers=np.arange(classes) % 4, keys=keys)


def write_digits(folder):
    """Write two recordings of every digit by each of six speakers, one of them as test file, with 300 spikes each."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for side in ("train", "test"):
        labels, speakers = (of.ravel() for of in np.meshgrid(np.arange(10), np.arange(6)))
        trials = [(np.sort(rng.uniform(0, 0.6, 300)), rng.integers(0, 64, 300)) for _ in labels]
        keys = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
        write_hdf5(folder / f"fsdd_{side}.h5", trials, labels, speakers=speakers, keys=keys)
    return folder
