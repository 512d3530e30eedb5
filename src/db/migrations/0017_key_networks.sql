-- Networks that an API key is let in from: a JSON list of addresses and prefixes, bound by the row's `mac` where
-- there is one. None: everywhere.
ALTER TABLE api_keys ADD COLUMN networks TEXT;
