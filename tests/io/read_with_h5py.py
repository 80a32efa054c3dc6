"""Opens the example record of results_test.cpp with h5py and checks what a user would see."""
import sys

import h5py
import numpy as np

with h5py.File(sys.argv[1], "r") as f:
    assert f.attrs["Conventions"] == "CF-1.10 Reel-1.0"
    assert f.attrs["title"] == "A throw" and f.attrs["repeat"] == 2
    assert len(f.attrs["result_digest"]) == 64
    assert set(f) == {"log", "measured", "provenance", "result"}
    pixels = f["result/pixels"]
    assert pixels.shape == (4, 16, 24, 3) and pixels.dtype == np.uint8
    assert pixels.chunks == (1, 16, 24, 3) and pixels.fletcher32 and pixels.shuffle and pixels.compression == "gzip"
    assert [d.keys()[0] for d in pixels.dims] == ["frame", "y", "x", "band"]
    assert (pixels[...].ravel() == np.arange(4 * 16 * 24 * 3) * 7 % 251).all()
    assert (pixels.dims[0][0][...] == f["result/frame"][...]).all()
    assert f["result/time"].attrs["units"] == "s" and f["result/time"].dims[0].keys() == ["frame"]
    assert f["result/latent"][0, 0, 1, 2] == 5.0 and f["result/latent"].dtype == np.float32
    assert f["measured/bytes_sent"][()] == 2**40
    assert f["provenance/config_text"].asstr()[()] == "reel = 1\n# é\n"
    assert list(f["log/events"].asstr()) == ["{}", "", '{"a":1}']

    def check(name, item):
        if isinstance(item, h5py.Dataset):
            assert item.attrs["long_name"], name
            assert item.dtype.kind == "O" or item.attrs["units"], name
            assert item.attrs.get("CLASS") == b"DIMENSION_SCALE" or all(len(d) == 1 for d in item.dims), name  # netCDF-4 wants every axis named
    f.visititems(check)
try:
    import xarray
except ImportError:
    print("ok (no xarray here)")
else:
    result = xarray.open_dataset(sys.argv[1], group="result", engine="h5netcdf")
    assert result.pixels.dims == ("frame", "y", "x", "band") and float(result.time[1]) == 0.0625
    print("ok (xarray too)")
