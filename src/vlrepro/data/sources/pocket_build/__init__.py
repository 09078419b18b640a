"""The builder of the pocket pack: real pictures from open drawings, bit for bit."""
