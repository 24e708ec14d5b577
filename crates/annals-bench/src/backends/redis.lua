-- Entries have their version in an aggregate, and their position in the log, as the first number of their id.
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local version = last[1] and tonumber(string.match(last[1][1], '^%d+')) or 0
local expected = tonumber(ARGV[1])
if (expected >= 0 and version ~= expected) or (expected == -2 and version == 0) then return -1 end
local first, position = version + 1, redis.call('XLEN', KEYS[2])
for i = 3, #ARGV, 4 do
  version, position = version + 1, position + 1
  for key, id in pairs({[KEYS[1]] = version, [KEYS[2]] = position}) do
    redis.call('XADD', key, id .. '-0', 'stream', ARGV[2], 'version', version, 'position', position,
      'type', ARGV[i], 'correlation', ARGV[i + 1], 'micros', ARGV[i + 2], 'data', ARGV[i + 3])
  end
end
return first
