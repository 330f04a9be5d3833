"""Makes ``files/anndata.h5ad`` with anndata itself, which is too large to install for the tests.

Run: pip install anndata==0.12.19, then python make_h5ad.py
"""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse

dense = np.array([[0, 1.5, 0], [2, 0, 0], [0, 0, 3], [0, 4, 0.25]], np.float32)
obs = pd.DataFrame(
    {
        "cell_type": pd.Categorical(["B", None, "T", "B"]),
        "depth": [10.5, 3.0, np.nan, 7.0],
        "count": pd.array([1, None, 3, 4], dtype="Int64"),
        "kept": [True, False, True, True],
    },
    index=["c1", "c2", "c3", "c4"],
)
var = pd.DataFrame({"chromosome": ["17", "13", "X"]}, index=["TP53", "BRCA2", "XIST"])
data = anndata.AnnData(scipy.sparse.csr_matrix(dense), obs, var, layers={"raw": dense})
data.write_h5ad(Path(__file__).parent / "files" / "anndata.h5ad", compression="gzip")
