-- A script for wrk: appends one event a request, or with BATCH=N a batch of N as NDJSON.
local batch = tonumber(os.getenv("BATCH") or "1")
local data = string.rep("x", 100)
local line = '{"eventType":"OrderPlaced","eventData":{"text":"' .. data .. '"},"userId":"anna"}'
wrk.method = "POST"
if batch > 1 then
  wrk.headers["Content-Type"] = "application/x-ndjson"
  wrk.body = string.rep(line .. "\n", batch)
else
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = line
end
