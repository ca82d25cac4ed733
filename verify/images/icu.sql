-- What PostgreSQL asks of ICU: names, order and case, for every locale it knows and for some that are asked for by options.
\set QUIET on
\pset format unaligned
\pset tuples_only on
create table words (word text);
insert into words select unnest(string_to_array(
  'cote,côte,coté,côté,Cote,COTÉ,ä,Äb,Af,Ad,aa,Å,å,zz,ß,ss,ﬁ,fi,ij,IJ,ı,i,İ,I,ch,cz,č,ll,ñ,n,o,ö,ø,đ,d,þ,œ,æ,10,9,2,１,'
  'Σίσυφος,σς,ΑΪ,Привет,ёлка,Ёж,їжак,шла,ქართული,Ⴀ,հայ,ԵՒ,שלום,مرحبا,پ,ی,हिन्दी,क,ക,සිංහල,ไทย,เกม,กขabc,abcสวัสดีxyz,ລາວ,ខ្មែរ,'
  'မြန်မာ,日本,にほん,ニホン,ﾆﾎﾝ,中文,北京,上海,漢字,一,二,丁,가나,한국,한,〇,㐀,😀,👍🏽,-,_, a,a b,a-b,ab,x²,½,v,w,y,ü', ','));
select collname, obj_description(oid, 'pg_collation') from pg_collation where collprovider = 'i' order by collname collate "C";
-- The options below, each its own collation beside those of the locales
select format('create collation %I (provider = icu, locale = %L, deterministic = %s)', 'option ' || n, option, n % 2 = 0)
from unnest(array['de-u-co-phonebk', 'es-u-co-trad', 'zh-u-co-pinyin', 'zh-u-co-stroke', 'zh-u-co-zhuyin', 'zh-u-co-unihan',
  'ja-u-kn', 'ko-u-co-search', 'sv-u-co-search', 'und-u-co-emoji', 'und-u-co-eor', 'und-u-ks-level1', 'und-u-ks-level2-kc',
  'und-u-kf-upper', 'und-u-ka-shifted', 'und-u-kr-latn-digit', 'fr-CA-u-kb', 'si-u-co-dict', 'en@colNumeric=yes',
  'de_AT@collation=phonebook', 'sr-Latn', 'und-u-kk', 'th-TH-u-ca-buddhist', 'xx-Unknown']) with ordinality o (option, n)
\gexec
select format('select %1$L, md5(string_agg(word, '','' order by word collate %1$I, word collate "C")),'
  ' md5(string_agg(upper(word collate %1$I) || lower(word collate %1$I) || initcap(word collate %1$I), '','' order by word collate "C")) from words',
  collname) from pg_collation where collprovider = 'i' order by collname collate "C"
\gexec
-- Every encoding that a database may have, where ICU converts what is stored
select format(E'create database %1$I encoding %2$L locale ''C'' template template0', 'in ' || encoding, encoding)
from unnest(array['euc_jp', 'euc_cn', 'euc_kr', 'euc_tw', 'latin1', 'latin2', 'latin3', 'latin4', 'latin5', 'latin6', 'latin7', 'latin8', 'latin9', 'latin10',
  'iso_8859_5', 'iso_8859_6', 'iso_8859_7', 'iso_8859_8', 'koi8r', 'koi8u', 'win866', 'win874', 'win1250', 'win1251', 'win1252', 'win1253', 'win1254',
  'win1255', 'win1256', 'win1257', 'win1258']) encoding
\gexec
