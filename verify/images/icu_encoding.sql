-- In a database of one encoding: order and case of the characters that it can hold, one byte and two bytes long.
\set QUIET on
\pset format unaligned
\pset tuples_only on
create table words (word text);
do $$
declare
  code int;
begin
  for code in select one from generate_series(160, 255) one union all
      select 65536 + lead * 256 + trail from generate_series(161, 254, 3) lead, generate_series(161, 254, 2) trail loop
    begin
      insert into words values (convert_from(decode(
        case when code < 256 then to_hex(code) else substr(to_hex(code), 2) end, 'hex'), getdatabaseencoding()));
    exception when others then null; -- this encoding has no such character
    end;
  end loop;
end $$;
select getdatabaseencoding(), count(*), md5(string_agg(word, ',' order by word collate "C")) from words;
select md5(string_agg(word, ',' order by word collate "und-x-icu", word collate "C")) from words;
select md5(string_agg(upper(word collate "und-x-icu") || lower(word collate "und-x-icu"), ',' order by word collate "C")) from words;
