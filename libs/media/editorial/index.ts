export * from './model.js';
export * from './edl.js';
export * from './fcp7.js';
export * from './fcpxml.js';
export * from './otio.js';
export * from './markers.js';
export * from './ale.js';
export * from './pull.js';
export { parseXml, type XmlElement } from './xml.js';
