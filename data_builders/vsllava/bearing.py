"""Kinematics of rolling bearings: how often a defect is struck, in strikes per turn of the shaft."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bearing:
    """A bearing whose inner ring turns: number of balls, their diameter and the pitch diameter in mm, contact angle."""

    balls: int
    ball: float
    pitch: float
    angle: float = 0.0  # degrees

    @property
    def orders(self):
        """{"outer", "inner", "ball", "cage"} in multiples of the shaft rate, without slip.

        BPFO = n/2 (1 - r), BPFI = n/2 (1 + r), FTF = (1 - r)/2 with r = d/D cos(angle). "ball" is 2 BSF = D/d (1 - r²):
        a defect of a ball strikes both races in one turn of the ball. (Harris, Rolling Bearing Analysis.)
        """
        ratio = self.ball / self.pitch * math.cos(math.radians(self.angle))
        return {
            "outer": self.balls / 2 * (1 - ratio),
            "inner": self.balls / 2 * (1 + ratio),
            "ball": self.pitch / self.ball * (1 - ratio**2),
            "cage": (1 - ratio) / 2,
        }


BEARINGS = {
    "6205": Bearing(9, 7.94, 39.04),  # SKF 6205-2RS, drive end of the Case Western Reserve rig
    "6203": Bearing(8, 6.746, 28.5),  # SKF 6203-2RS, fan end of the same rig
    "ZA-2115": Bearing(16, 8.407, 71.5, 15.17),  # Rexnord, the run-to-failure rig of IMS Cincinnati
}
