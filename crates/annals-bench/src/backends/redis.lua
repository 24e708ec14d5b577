-- Entries have their version in an aggregate, and their position in the log, as the first number of their id.
local function last(key)
  local entry = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if entry then return tonumber(string.match(entry[1], '^%d+')) end
  if redis.call('EXISTS', key) == 0 then return 0 end
  -- All entries have expired; the stream knows the last id that it had.
  local facts = redis.call('XINFO', 'STREAM', key)
  for i = 1, #facts, 2 do
    if facts[i] == 'last-generated-id' then return tonumber(string.match(facts[i + 1], '^%d+')) end
  end
end
local version, position = last(KEYS[1]), last(KEYS[2])
local expected = tonumber(ARGV[1])
if (expected >= 0 and version ~= expected) or (expected == -2 and version == 0) then return -1 end
local first = version + 1
for i = 3, #ARGV, 4 do
  version, position = version + 1, position + 1
  for key, id in pairs({[KEYS[1]] = version, [KEYS[2]] = position}) do
    redis.call('XADD', key, id .. '-0', 'stream', ARGV[2], 'version', version, 'position', position,
      'type', ARGV[i], 'correlation', ARGV[i + 1], 'micros', ARGV[i + 2], 'data', ARGV[i + 3])
  end
end
return first
