"""`fastlstm bench`: shapes, peers in processes of their own, verify, then time, then report."""
