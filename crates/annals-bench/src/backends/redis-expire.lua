-- Trims the log up to a position, and the streams of its entries up to their versions. Returns how many entries it removed.
local entries = redis.call('XRANGE', KEYS[1], '-', ARGV[2] .. '-0', 'COUNT', ARGV[3])
for _, entry in ipairs(entries) do
  redis.call('XTRIM', ARGV[1] .. entry[2][2], 'MINID', (tonumber(entry[2][4]) + 1) .. '-0')
end
if #entries > 0 then
  local last = tonumber(string.match(entries[#entries][1], '^%d+'))
  redis.call('XTRIM', KEYS[1], 'MINID', (last + 1) .. '-0')
end
return #entries
