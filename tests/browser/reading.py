"""What a drawn map shows, read back from its pixels and its words."""

import numpy as np


def cell(frame, run, row, column, rows, columns):
    """(colour under the middle of a cell, what the read-out says when pointed at)."""
    plot = frame.locator(f".map[data-run='{run}'] .plot")
    box = plot.bounding_box()
    x = box["width"] * (column + 0.5) / columns
    y = box["height"] * (row + 0.5) / rows
    # inside the canvas, beside the hatching's and the rows' lines
    colour = plot.locator("canvas").evaluate(
        """(canvas, [x, y]) => {
            const ratio = canvas.width / canvas.clientWidth;
            return [...canvas.getContext('2d').getImageData(x * ratio, y * ratio, 1, 1).data];
        }""",
        [x, y],
    )
    plot.hover(position={"x": x, "y": y})
    return colour[:3], frame.locator(f".map[data-run='{run}'] .readout").inner_text()


def luminance(colour):
    """Relative luminance of red, green, blue from 0 to 255: 0 is black, 1 white (WCAG 2.2)."""
    share = np.array(colour[:3]) / 255.0
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
