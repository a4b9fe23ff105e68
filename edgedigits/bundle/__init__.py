"""The bundle, which carries a model to a device: manifest, artifacts, arrays, checksums and signature.

In: a directory or .zip that may be damaged or hostile. Out: verified bytes and arrays, or what is wrong with them.
Bundles are written by the export package; here they are read, checked, inspected and signed.
"""
