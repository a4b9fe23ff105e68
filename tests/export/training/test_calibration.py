from __future__ import annotations

import numpy as np
import pytest

from edgedigits_export.training.calibration import expected_calibration_error


class TestExpectedCalibrationError:
    def test_gaps_cancel_within_a_bin_only(self) -> None:
        one_bin, two_bins = np.array([[0.62, 0.38], [0.64, 0.36]]), np.array([[0.62, 0.38], [0.74, 0.26]])
        labels = np.array([0, 1])
        assert expected_calibration_error(one_bin, labels) == pytest.approx(abs(0.38 - 0.64) / 2)
        assert expected_calibration_error(two_bins, labels) == pytest.approx((0.38 + 0.74) / 2)

    def test_bounds(self) -> None:
        certain = np.eye(4, dtype=np.float32)
        assert expected_calibration_error(certain, np.arange(4)) == 0.0
        assert expected_calibration_error(certain, (np.arange(4) + 1) % 4) == 1.0
