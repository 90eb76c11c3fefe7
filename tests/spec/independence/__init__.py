"""The written expectations of derivatives, recomputed without any derivative rule."""
